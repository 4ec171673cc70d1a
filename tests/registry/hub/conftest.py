"""Alice's dataset on a stand-in Hub, for the tests of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from helpers.hub.fixtures import hub, hub_server, no_waiting
from helpers.hub.server import HubServer
from helpers.hub_walks import REPO, Upload

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["hub", "hub_server", "no_waiting"]


@pytest.fixture
def api(hub: HubServer) -> HfApi:
    """Alice's client; her dataset is there, and empty."""
    import huggingface_hub

    api = huggingface_hub.HfApi()
    api.create_repo(REPO, repo_type="dataset")
    return api


@pytest.fixture
def bob(hub: HubServer) -> HfApi:
    import huggingface_hub

    return huggingface_hub.HfApi(token="hf_bob")


@pytest.fixture
def upload(api: HfApi) -> Upload:
    """Commit files, path to content, as alice unless another client is given; the commit."""
    from huggingface_hub import CommitOperationAdd

    def upload(files: dict[str, bytes], api: HfApi = api, **options: object) -> str:
        operations = [CommitOperationAdd(path, content) for path, content in files.items()]
        return api.create_commit(REPO, operations, commit_message="Add", repo_type="dataset", **options).oid

    return upload
