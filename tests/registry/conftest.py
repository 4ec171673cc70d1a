"""Fixtures of the registry's tests: one small real collection, and copies of it to damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.hub import HubServer
from helpers.hub.client import connect, forget_connections
from helpers.hub.fixtures import hub, hub_server, no_waiting
from helpers.hub_commands import REPO, published
from helpers.mujoco_warnings import quiet_mujoco
from helpers.small_collections import TINY, silent, tiny_config
from tipl_bench.registry.collection.collect import collect
from tipl_bench.registry.dataset import Dataset
from tipl_bench.registry.reference import HubLocation
from tipl_bench.registry.store import dataset_folder

__all__ = ["hub", "hub_server", "no_waiting", "quiet_mujoco"]


@pytest.fixture(scope="session")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A tiny real collection; only to be read."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TIPL_BENCH_HOME", str(tmp_path_factory.mktemp("collected")))
        return collect(TINY, tiny_config(), threads=1, progress=silent)


@pytest.fixture
def dataset(collected: Dataset, tmp_path: Path) -> Dataset:
    """A copy of the tiny collection in a folder of its own, to do anything with."""
    return Dataset.open(shutil.copytree(collected.folder, tmp_path / "dataset"))


@pytest.fixture
def stored(collected: Dataset) -> Dataset:
    """A copy of the tiny collection under its name in the test's store."""
    return Dataset.open(shutil.copytree(collected.folder, dataset_folder(TINY)))


@pytest.fixture(scope="session")
def made_repository(collected: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, HubLocation]:
    """The repository of the tiny collection after it was published, and where it is; only to be copied."""
    folder = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as patch, HubServer(folder / "hub") as server:
        patch.setenv("TIPL_BENCH_HOME", str(folder / "store"))
        connect(patch, server)
        location = published(Dataset.open(shutil.copytree(collected.folder, folder / "dataset")))
        forget_connections()
    return server.repository(REPO).folder, location


@pytest.fixture
def place(made_repository: tuple[Path, HubLocation], hub: HubServer, dataset: Dataset) -> HubLocation:
    """The tiny collection, published."""
    repository, location = made_repository
    shutil.copytree(repository, hub.root / "datasets" / REPO)
    return location
