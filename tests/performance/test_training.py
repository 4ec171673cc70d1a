"""TIPL's training steps beside their matrix products alone, and beside GPT-2 blocks as torch ships them."""

from __future__ import annotations

import pytest
import torch
from tipl_bench.baselines.options import build_options
from tipl_bench.baselines.predictor import FitTask
from tipl_bench.baselines.tipl import TIPL
from tipl_bench.registry.loading import load_dataset
from torch import nn

pytestmark = pytest.mark.performance
BATCH, TOKENS, WIDTH, LAYERS, STEPS = 64, 29, 128, 3, 50


@pytest.mark.benchmark(group="TIPL: training steps")
def test_limit_matrix_products_alone(timed):
    rows = BATCH * TOKENS
    shapes = [(WIDTH, 3 * WIDTH), (WIDTH, WIDTH), (WIDTH, 4 * WIDTH), (4 * WIDTH, WIDTH)] * LAYERS
    inputs = [torch.randn(rows, a) for a, _ in shapes]
    weights = [torch.randn(a, b) for a, b in shapes]

    def work():
        for _ in range(STEPS):
            for x, w in zip(inputs, weights, strict=True):
                y = x @ w
                y @ w.T, x.T @ y  # the two products of its backward pass

    timed("forward and backward matrix products (limit)", work, STEPS, "steps/s")


@pytest.mark.benchmark(group="TIPL: training steps")
def test_tipl_training(timed):
    dataset = load_dataset("inverted-pendulum/ppo-head-v1", download=False)
    split = dataset.manifest.split
    settings = (f"steps={STEPS}", f"validate_every={STEPS}")
    times = []

    def work():
        import time

        predictor = TIPL(build_options(TIPL, "quick", settings, 20))
        started = None

        def progress(done, total, word):
            nonlocal started
            if done == 1:
                started = time.perf_counter()
            if done == total - 1:
                times.append((total - 2) / (time.perf_counter() - started))

        predictor.fit(
            FitTask(dataset.trials(split.train[:2]), dataset.trials(split.validation[:1]), 10, 20, progress=progress)
        )

    timed("whole fit of two trials, windows and validation included", work, STEPS, "steps/s")
    print(f"\nTIPL steps alone: {max(times):.1f} steps/s")


@pytest.mark.benchmark(group="TIPL: training steps")
def test_peer_torch_transformer_encoder(timed):
    layer = nn.TransformerEncoderLayer(WIDTH, 1, 4 * WIDTH, 0.1, batch_first=True, norm_first=True)
    model = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    mask = nn.Transformer.generate_square_subsequent_mask(TOKENS)
    x = torch.randn(BATCH, TOKENS, WIDTH)

    def work():
        for _ in range(STEPS):
            optimizer.zero_grad()
            model(x, mask=mask, is_causal=True).square().mean().backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.25)
            optimizer.step()

    timed("torch's TransformerEncoder of the same size (peer)", work, STEPS, "steps/s")
