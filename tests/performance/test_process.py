"""A predictor in a process of its own beside the same one in this process: what the separation costs."""

from __future__ import annotations

import numpy as np
import pytest
from tipl_bench.baselines import predictor_type
from tipl_bench.baselines.options import build_options
from tipl_bench.baselines.predictor import Contexts
from tipl_bench.benchmark.worker.predictor_process import PredictorProcess
from tipl_bench.registry.trial import COLUMNS
from tipl_bench.rl.policy import PolicyLayout

pytestmark = pytest.mark.performance
LAYOUT = PolicyLayout(17, (256, 256), 6)
BATCH, CONTEXT, HORIZON = 20, 20, 10


@pytest.fixture(scope="module")
def contexts():
    """HalfCheetah-sized contexts, 115 MB of weights."""
    stream = np.random.default_rng(0)
    return Contexts(
        stream.standard_normal((BATCH, CONTEXT, LAYOUT.parameter_count), dtype=np.float32),
        np.zeros((BATCH, CONTEXT, 17)),
        np.ones((BATCH, CONTEXT, 17)),
        np.zeros((BATCH, CONTEXT)),
        {name: np.zeros((BATCH, CONTEXT)) for name in COLUMNS},
        np.full(BATCH, CONTEXT - 1),
        LAYOUT,
    )


@pytest.mark.benchmark(group="linear forecasts, P = 71,948, batches of 20")
def test_limit_in_this_process(contexts, timed):
    kind = predictor_type("linear")
    predictor = kind(build_options(kind, "quick", (), 20))
    timed("in this process (limit)", lambda: predictor.predict(contexts, HORIZON), BATCH, "windows/s", rounds=5)


@pytest.mark.benchmark(group="linear forecasts, P = 71,948, batches of 20")
def test_in_a_process_of_its_own(contexts, timed):
    with PredictorProcess("linear") as predictor:
        timed("in its own process", lambda: predictor.predict(contexts, HORIZON), BATCH, "windows/s", rounds=5)


@pytest.mark.benchmark(group="a predictor's process: starts")
def test_start(timed):
    def start():
        PredictorProcess("linear").close()

    timed("start, hide, describe, end", start, 1000, "per 1000 s", rounds=5)
