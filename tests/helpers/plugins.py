"""Install predictors as a package's entry points."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest


def install(
    site: Path,
    name: str,
    points: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
    group: str = "tipl_bench.predictors",
) -> Path:
    """Put a package's metadata, with predictors or others as entry points, on the path."""
    information = site / f"{name.replace('-', '_')}-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{point} = {place}" for point, place in points.items()]
    (information / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines]) + "\n")
    monkeypatch.syspath_prepend(str(site))
    return site
