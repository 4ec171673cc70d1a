"""The environment variables of a worker process: a fixed list, without credentials and with folders of its own."""

from __future__ import annotations

import os
import re
from pathlib import Path

from huggingface_hub import constants

KEPT = re.compile(
    r"PATH|LANG|LANGUAGE|LC_\w+|TZ|LD_LIBRARY_PATH|DYLD_\w+|SYSTEMROOT"
    r"|(OMP|GOMP|KMP|MKL|OPENBLAS|BLIS|VECLIB|NUMEXPR|MALLOC|NUMBA|MUJOCO"
    r"|CUDA|CUDNN|CUBLAS|NVIDIA|NCCL|TORCH|PYTORCH|TORCHINDUCTOR|TRITON|JAX|XLA|HIP|HSA|ROCM|ROCR)_\w+"
)
"""Variables by which the system, numerical libraries and accelerators are set up."""
CREDENTIAL = re.compile(r"TOKEN|KEY|SECRET|PASS|CREDENTIAL|AUTH", re.IGNORECASE)
FOLDERS = (
    *("HOME", "TMPDIR", "HF_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "MPLCONFIGDIR"),
    *("NUMBA_CACHE_DIR", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TORCH_HOME", "CUDA_CACHE_PATH"),
)
"""Folders that libraries write to, each the scratch folder, the only writable one."""


def worker_environment(scratch: str) -> dict[str, str]:
    """The environment variables of a worker process; it computes with as many threads as this one."""
    import torch

    kept = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name) and not CREDENTIAL.search(name)}
    return kept | dict.fromkeys(FOLDERS, scratch) | {"OMP_NUM_THREADS": str(torch.get_num_threads())}


def token_files() -> list[Path]:
    """Where the Hub's credentials are kept on this machine."""
    return [Path(constants.HF_TOKEN_PATH), Path(constants.HF_STORED_TOKENS_PATH)]
