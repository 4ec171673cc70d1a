"""A small dataset repository on the stand-in Hub, and reading it through the real client."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import save

REPO = "alice/walks"
WEIGHTS = save({"policy": np.arange(30_000, dtype=np.float32)})  # 120 KB: more than one read of the header's range

Upload = Callable[..., str]


def download(path: str, revision: str | None = None, **options: object) -> bytes:
    """A file's bytes, through the client's cache."""
    import huggingface_hub

    file = huggingface_hub.hf_hub_download(REPO, path, repo_type="dataset", revision=revision, **options)
    return Path(file).read_bytes()
