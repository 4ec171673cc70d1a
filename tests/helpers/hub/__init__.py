"""A stand-in for the Hugging Face Hub: datasets in git repositories, served over HTTP on loopback.

The real `huggingface_hub` and `datasets` clients talk to it, so tests see what a user would see, faults included::

    with HubServer(tmp_path) as server:
        api = HfApi(endpoint=server.url, token="hf_alice")
        api.create_repo("alice/walks", repo_type="dataset")
        server.faults.add("GET /lfs-objects/", Cut(after=1000), times=1)

`hub.fixtures` holds the pytest fixtures, `hub.client` what a client needs to find the server.
"""

from .accounts import USERS, User
from .faults import Cut, Endless, Fault, Flip, Hang, Lose, Slow, Status, Truncate
from .repository import Repository
from .server import Call, HubServer

__all__ = [
    "USERS",
    "Call",
    "Cut",
    "Endless",
    "Fault",
    "Flip",
    "Hang",
    "HubServer",
    "Lose",
    "Repository",
    "Slow",
    "Status",
    "Truncate",
    "User",
]
