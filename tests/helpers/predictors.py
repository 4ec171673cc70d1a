"""The predictors of this package, as parameters of tests that start each in a process of its own."""

from __future__ import annotations

import pytest
from tipl_bench.baselines import IN_TREE

ALIKE = {
    "tipl-pooled", "dmd", "ema", "lawa", "mean-trajectory", "adam-moments", "introspection", "farcasting", "wnn",
    "wnn-plus", "nino", "ensemble", "continuation",
}  # fmt: skip
"""Those whose code is mostly another's that is tested, or a line of algebra, or slow: `-m slow` tests them."""

IN_PROCESSES = [pytest.param(name, marks=pytest.mark.slow) if name in ALIKE else name for name in IN_TREE]
