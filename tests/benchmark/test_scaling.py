"""The study of scaling: which runs it is made of, and what its page says of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.board_records import record
from helpers.synthetic import smooth_dataset
from tipl_bench.benchmark.paper import scaling
from tipl_bench.benchmark.paper.scaling import Scaling, finished, first_trials, missing, render, scale
from tipl_bench.benchmark.protocol import PROTOCOLS
from tipl_bench.registry.manifest import Split
from tipl_bench.utils.errors import OptionError

FEWER = PROTOCOLS[1].model_copy(update={"resamples": 199})
PARTS = Split(train=(0, 1, 2, 3, 4, 8, 9), validation=(5,), test=(6, 7))


@pytest.fixture(scope="module")
def study(smooth, tmp_path_factory) -> Scaling:
    more = smooth_dataset(tmp_path_factory.mktemp("more") / "more", 10, name="toy-pendulum/more-v1", split=PARTS)
    return Scaling(
        smooth, more, (2, 7), ("autoregression", "wnn", "mlp"), (0, 1), budget="smoke", protocol=PROTOCOLS[1]
    )


@pytest.fixture
def made(monkeypatch) -> list[str]:
    """Runs are replaced by records whose errors are the smaller, the more trials were fitted on; the runs' names."""
    names: list[str] = []

    def run(model, dataset, *, out, fit_on, seed, options, limit, returns, **_):
        assert (limit, returns) == (40, False)
        names.append(out.name)
        count = len(fit_on.manifest.split.train)
        out.mkdir(parents=True)
        record(model, 1 / count, noise=0.005 * count, seed=seed).write(out)

    monkeypatch.setattr(scaling, "run", run)
    return names


def test_the_first_trials_of_a_fit_set_are_the_same_files_with_the_others_held_out(study):
    few = first_trials(study.fit_set, 3)
    assert (few.name, few.folder) == ("toy-pendulum/more-first-3-v1", study.fit_set.folder)
    assert few.manifest.split.fitted == (0, 1, 2, 5)
    assert few.manifest.split.test == (6, 7, 3, 4, 8, 9)
    few.verify()
    with pytest.raises(OptionError, match="toy-pendulum/more-v1 has 7 training trials, not 8"):
        first_trials(study.fit_set, 8)


def test_what_a_predictor_has_no_option_for_is_not_varied(study):
    assert [(curve.label, curve.settings) for curve in study.curves()] == [
        ("autoregression", ()),
        ("wnn", ()),
        ("wnn, steps x 4", ("steps=200",)),
        ("mlp", ()),
        ("mlp, steps x 4", ("steps=200",)),
        ("mlp, width x 2", ("width=256",)),
    ]
    with pytest.raises(OptionError, match="The widths of a study of scaling rise, and factors begin with 1"):
        replace(study, widths=(2, 1))


def test_the_study_goes_on_where_it_stopped_and_its_page_says_what_there_is(study, made, tmp_path):
    scale(study, tmp_path / "runs", limit=3)
    assert made == [
        "autoregression-smoke-on-toy-pendulum--more-first-2-v1-seed0",
        "autoregression-smoke-on-toy-pendulum--more-first-7-v1-seed0",
        "wnn-smoke-on-toy-pendulum--more-first-2-v1-seed0",
    ]
    assert len([*missing(study, tmp_path / "runs")]) == 24 - 3
    part = finished(study, tmp_path / "runs")[-1]
    assert (part.parameters, part.fit_seconds, part.cell(2), part.gain_cell()) == (None, None, "-", "-")
    scale(study, tmp_path / "runs")
    assert len(made) == len({*made}) == 24
    rows = finished(study, tmp_path / "runs")
    text = render(study, rows, "the command", tmp_path).read_text(encoding="utf-8")
    assert (tmp_path / "scaling" / "scaling.png").exists()
    assert "24 of 24 runs" in text
    gain = rows[0].gain(2, 7)
    assert gain.value == pytest.approx(1 / 2 - 1 / 7, abs=0.02)
    assert 0 < gain.low < gain.value < gain.high
    assert "| autoregression | 7 | 1 | 0." in text
    assert f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] |" in text
