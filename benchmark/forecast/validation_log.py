"""The store's log of validation runs: how much a predictor was tuned on a dataset before a test run of it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from ...registry.locations import cache_root
from ...registry.store import optional_write
from ...utils.canonical import canonical_json, strict_json
from ..record import RunKey

LOG_NAME = "validation-runs.jsonl"


def log_path() -> Path:
    """Where the log is: one line of JSON for each validation run, only ever added to."""
    return cache_root() / LOG_NAME


def log_validation_run(key: RunKey) -> None:
    """Add a validation run to the log; one that is there already counts once all the same."""
    line = {**_subject(key), "key": hashlib.sha256(canonical_json(key.model_dump(mode="json")).encode()).hexdigest()}
    with optional_write("test runs do not count this validation run"):
        log_path().parent.mkdir(parents=True, exist_ok=True)
        # One write in append mode: lines of processes that run at once do not mix.
        with log_path().open("ab", buffering=0) as stream:
            stream.write(canonical_json(line).encode() + b"\n")


def count_validation_runs(key: RunKey) -> int | None:
    """Validation runs of a key's predictor on its dataset, whatever their options, budget, seed and version.

    None where the store cannot be written, so that nothing would have been logged, or the log cannot be read.
    """
    path = log_path()
    try:
        place = next(there for there in (path, *path.parents) if there.exists())
        if not os.access(place, os.W_OK) or not (place == path or place.is_dir()):
            return None
        lines = path.read_bytes().splitlines() if path.exists() else []
    except OSError:
        return None
    subject = _subject(key)
    return len({found["key"] for found in map(_parsed, lines) if subject.items() <= found.items() and "key" in found})


def _subject(key: RunKey) -> dict[str, str]:
    return {"dataset": key.dataset.first_digest, "predictor": key.method.name}


def _parsed(line: bytes) -> dict[str, Any]:
    """A line of the log; empty if a full disk cut it off."""
    try:
        found = strict_json(line.decode())
    except ValueError:
        return {}
    return {k: v for k, v in found.items() if isinstance(v, str)} if isinstance(found, dict) else {}
