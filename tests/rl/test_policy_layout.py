"""The layout of a weight vector, against torch's own order of a network's parameters."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tipl_bench.rl.policy import PolicyLayout
from tipl_bench.utils.errors import DatasetError

widths = st.integers(1, 12)
layouts = st.builds(PolicyLayout, widths, st.lists(widths, min_size=1, max_size=3).map(tuple), widths)


def torch_parameters(layout):
    """The same network built of torch's layers, its log-std last."""
    sizes = layout.sizes
    layers = [torch.nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    return [*(p for layer in layers for p in layer.parameters()), torch.zeros(layout.action_size)]


@pytest.mark.parametrize(
    ("sizes", "count"), [((4, (8, 8), 1), 122), ((17, (256, 256), 6), 71_948), ((4, (64, 64), 1), 4_546)]
)
def test_parameter_counts_are_the_published_ones(sizes, count):
    assert PolicyLayout(*sizes).parameter_count == count


def test_names_and_shapes_tell_the_storage_order():
    assert list(PolicyLayout(4, (8, 3), 2).shapes.items()) == [
        ("layer0.weight", (8, 4)),
        ("layer0.bias", (8,)),
        ("layer1.weight", (3, 8)),
        ("layer1.bias", (3,)),
        ("layer2.weight", (2, 3)),
        ("layer2.bias", (2,)),
        ("log_std", (2,)),
    ]


@given(layouts)
def test_shapes_and_slices_are_those_of_a_torch_network(layout):
    expected = torch_parameters(layout)
    assert [tuple(p.shape) for p in expected] == list(layout.shapes.values())
    vector = torch.cat([p.detach().flatten() for p in expected]).numpy()
    assert layout.parameter_count == len(vector)
    for parameter, part in zip(expected, layout.slices.values(), strict=True):
        assert np.array_equal(vector[part], parameter.detach().flatten().numpy())


@given(layouts, st.integers(1, 3))
def test_the_kernel_form_transposes_every_matrix_and_moves_nothing_else(layout, policies):
    weights = np.random.default_rng(0).standard_normal((policies, layout.parameter_count)).astype(np.float32)
    before = weights.copy()
    kernel = layout.as_kernel(weights)
    for name, part in layout.slices.items():
        for row, original in zip(kernel, before, strict=True):
            expected = original[part].reshape(layout.shapes[name]).T.ravel()
            assert np.array_equal(row[part], expected), name
    assert np.array_equal(weights, before)
    assert kernel.flags.c_contiguous
    assert kernel.dtype == np.float32


def test_weights_of_another_length_are_refused_with_both_lengths():
    with pytest.raises(DatasetError, match=r"forecast: .*\[2, 121\].*P = 122"):
        PolicyLayout(4, (8, 8), 1).check(np.zeros((2, 121)), "forecast")


@pytest.mark.parametrize("sizes", [(0, (8,), 1), (4, (), 1), (4, (8, 0), 1), (4, (8,), -1)])
def test_networks_without_units_are_refused(sizes):
    with pytest.raises(DatasetError, match="Unusable policy layout"):
        PolicyLayout(*sizes)


def test_an_unknown_activation_is_refused():
    with pytest.raises(DatasetError, match="relu"):
        PolicyLayout(4, (8,), 1, activation="relu")
