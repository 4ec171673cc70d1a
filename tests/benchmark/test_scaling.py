"""The study of scaling: which runs it is made of, and what its page says of them."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.board_records import record
from helpers.synthetic import smooth_dataset
from pydantic import ValidationError
from tipl_bench.benchmark.paper import scaling
from tipl_bench.benchmark.paper.scaling import Study, first_trials, keep, missing, read_kept, scale
from tipl_bench.benchmark.paper.scaling_page import page_rows, render
from tipl_bench.benchmark.record import read_record
from tipl_bench.registry.manifest import Split
from tipl_bench.utils.errors import DatasetError, OptionError

PARTS = Split(train=(0, 1, 2, 3, 4, 8, 9), validation=(5,), test=(6, 7))


@pytest.fixture(scope="module")
def more(tmp_path_factory):
    return smooth_dataset(tmp_path_factory.mktemp("more") / "more", 10, name="toy-pendulum/more-v1", split=PARTS)


@pytest.fixture
def study(smooth, more) -> Study:
    predictors = ("autoregression", "wnn", "mlp")
    return Study(
        dataset=smooth.name,
        fit_set=more.name,
        trials=(2, 4, 7),
        predictors=predictors,
        seeds=(0, 1),
        budget="smoke",
        version=1,
        digest=smooth.digest,
        fit_digest=more.digest,
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


def test_the_first_trials_of_a_fit_set_are_the_same_files_with_the_others_held_out(more):
    few = first_trials(more, 3)
    assert (few.name, few.folder) == ("toy-pendulum/more-first-3-v1", more.folder)
    assert few.manifest.split.fitted == (0, 1, 2, 5)
    assert few.manifest.split.test == (6, 7, 3, 4, 8, 9)
    few.verify()
    with pytest.raises(OptionError, match="toy-pendulum/more-v1 has 7 training trials, not 8"):
        first_trials(more, 8)


def test_one_option_is_varied_at_a_time_where_a_predictor_has_it_with_the_fewest_and_the_most_trials(study):
    assert [(curve.label, curve.settings, [*curve.trials]) for curve in study.curves()] == [
        ("autoregression", (), [2, 4, 7]),
        ("wnn", (), [2, 4, 7]),
        ("wnn, steps x 4", ("steps=200",), [2, 7]),
        ("mlp", (), [2, 4, 7]),
        ("mlp, steps x 4", ("steps=200",), [2, 7]),
        ("mlp, width x 2", ("width=256",), [2, 7]),
    ]
    assert study.planned == 2 * (3 * 3 + 3 * 2)
    for wrong, message in (
        ({"widths": (2, 1)}, r"rise from 1 are expected, not \[2, 1\]"),
        ({"trials": (7, 2)}, r"rise are expected, not \[7, 2\]"),
    ):
        with pytest.raises(ValidationError, match=message):
            Study(**study.model_dump() | wrong)


def test_the_study_goes_on_where_it_stopped_and_its_page_says_what_there_is(study, smooth, more, made, tmp_path):
    runs, kept = tmp_path / "runs", tmp_path / "kept"
    with pytest.raises(DatasetError, match="kept keeps no study of scaling; `--fit` makes one"):
        render(kept, tmp_path)
    with pytest.raises(DatasetError, match=r"runs holds no finished run of the study, and .*kept keeps none"):
        keep(study, runs, kept)
    assert not kept.exists()
    scale(study, smooth, more, runs, kept, limit=3)
    assert made == [f"autoregression-smoke-on-toy-pendulum--more-first-{count}-v1-seed0" for count in (2, 4, 7)]
    assert len([*missing(study, runs, kept)]) == 30 - 3
    keep(study, runs, kept)
    part = page_rows(*read_kept(kept))[-1]
    assert (part.parameters, part.fit_seconds, part.cell(2), part.gain_cell(), part.processor) == (
        None, None, "-", "-", "-"
    )  # fmt: skip
    assert "3 of 30 runs" in render(kept, tmp_path).read_text("utf-8")
    scale(study, smooth, more, tmp_path / "on another machine", kept)
    assert len(made) == len({*made}) == 30
    keep(study, tmp_path / "on another machine", kept)
    assert not [*missing(study, tmp_path / "nowhere", kept)]
    before = (kept / "runs.parquet").read_bytes()
    keep(study, runs, kept)
    assert (kept / "runs.parquet").read_bytes() == before
    with pytest.raises(DatasetError, match="kept keeps a study of other seeds, fit_digest; choose another folder"):
        keep(study.model_copy(update={"seeds": (0,), "fit_digest": "0" * 64}), runs, kept)
    text = render(kept, tmp_path).read_text("utf-8")
    assert (tmp_path / "scaling" / "scaling.png").exists()
    assert "30 of 30 runs" in text
    row = page_rows(*read_kept(kept))[0]
    gain = row.gain()
    assert gain.value == pytest.approx(1 / 2 - 1 / 7, abs=0.02)
    assert 0 < gain.low < gain.value < gain.high
    assert "| autoregression | 7 | 1 | " in text
    assert f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] |" in text
    places = [name for name in made if name.startswith("autoregression") and "-first-2-" in name]
    records = [read_record(next(tmp_path.glob(f"*/{name}/record.json"))) for name in places]
    assert len(records) == 2
    skills = [[one["skill"].value for one in found.of_phase("learning")] for found in records]
    assert row.skill(2).value == pytest.approx(np.mean(skills))
