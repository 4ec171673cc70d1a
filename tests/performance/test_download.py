"""Downloading the bundled dataset from a stand-in Hub on loopback, beside `snapshot_download` of the same files."""

from __future__ import annotations

import itertools

import huggingface_hub
import pytest
from helpers.hub.fixtures import hub, hub_server
from tipl_bench.registry.hub.publish import publish
from tipl_bench.registry.loading import download_dataset, load_dataset, parse_reference

__all__ = ["hub", "hub_server"]

pytestmark = pytest.mark.performance
NAME, REPO = "inverted-pendulum/ppo-head-v1", "alice/pendulum"


@pytest.fixture
def place(hub):
    dataset = load_dataset(NAME, download=False)
    _, location = publish(dataset, REPO)
    return location, sum(entry.size for entry in dataset.manifest.files) / 1e6


@pytest.mark.benchmark(group="download: 12 MB in 51 files, loopback")
def test_download_and_verify(timed, place, tmp_path):
    location, size = place
    folders = (tmp_path / str(number) for number in itertools.count())
    timed(
        "download, every byte hashed twice",
        lambda: download_dataset(parse_reference(str(location)), to=next(folders)),
        size,
        "MB/s",
    )


@pytest.mark.benchmark(group="download: 12 MB in 51 files, loopback")
def test_peer_snapshot_download(timed, place, tmp_path):
    location, size = place
    folders = (tmp_path / str(number) for number in itertools.count())
    patterns = ["trials/*", "manifest.json", "*.safetensors"]

    def work():
        huggingface_hub.snapshot_download(
            REPO, repo_type="dataset", revision=location.revision, local_dir=next(folders), allow_patterns=patterns
        )

    timed("huggingface_hub.snapshot_download (peer)", work, size, "MB/s")


def test_a_verified_download_is_as_fast_as_a_plain_one(reaches):
    reaches("download, every byte hashed twice", 1, "huggingface_hub.snapshot_download (peer)")
