"""What the tests of the Hub's side of the registry share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tipl_bench.registry.catalog import CatalogEntry, entry_lines
from tipl_bench.registry.dataset import Dataset
from tipl_bench.registry.files import VERIFIED_NAME
from tipl_bench.registry.hub.publish import publish
from tipl_bench.registry.locations import cache_root
from tipl_bench.registry.reference import HubLocation

from helpers.hub import HubServer
from helpers.hub.client import environment
from helpers.small_collections import TINY, contents

REPO = "alice/tiny"
TRIAL = "trials/trial-0002.safetensors"
PLACE = f"hf://datasets/{REPO}"


def published(dataset: Dataset, repo: str = REPO) -> HubLocation:
    """Publish a dataset as alice; where it is."""
    _, location = publish(dataset, repo)
    assert location is not None
    return location


def catalogue(dataset: Dataset, location: HubLocation, name: str = TINY, **changes: Any) -> None:
    """Write this machine's own catalog, with one entry."""
    facts = {
        "environment": dataset.environment,
        "summary": "A test's",
        "digest": dataset.digest,
        "repo": location.repo,
        "commit": location.revision,
    } | changes
    path = cache_root() / "catalog.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(entry_lines(name, CatalogEntry.model_validate(facts)))


def command(server: HubServer, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    """`tipl-bench` in a process of its own, talking to the server."""
    env = {**os.environ, **environment(server), **variables}
    line = [sys.executable, "-m", "tipl_bench", *arguments]
    return subprocess.Popen(line, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen[str]) -> str:
    """Wait for a process that must succeed; its standard output."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def leftovers(folder: Path) -> list[str]:
    """Names of unfinished files below a folder."""
    return sorted(path.name for path in folder.rglob(".*") if path.is_file() and path.name != VERIFIED_NAME)


def files(folder: Path) -> dict[str, str]:
    """The sha256 of every tensor file below a folder, by relative path."""
    return {path: digest for path, digest in contents(folder).items() if path.endswith(".safetensors")}
