"""Records of another dataset or protocol, that break their schema or reader, or whose numbers are not so."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
from tipl_bench.benchmark.record import RECORD_LIMIT
from tipl_bench.leaderboard.store.records import file_name

from helpers import synthetic
from helpers.submission_workspace import NAME, write_catalog

from .table import FLAGGED, expect

# Another dataset, protocol or origin than it says.


@expect(rf"made on {NAME} .* with digest {'0' * 64}, but the dataset here")
def when_the_digest_is_another(workspace):
    workspace.edit("key", "dataset", "digest", to="0" * 64)


@expect(r"made on .* with digest [0-9a-f]{64}, but the dataset here")
def when_a_dataset_of_the_same_name_has_another_split(workspace):
    split = workspace.dataset.manifest.split
    other = split.model_copy(update={"train": split.test + split.train[2:], "test": split.train[:2]})
    mine = synthetic.smooth_dataset(workspace.submission.parent / "mine", split=other)
    assert mine.name == workspace.dataset.name
    workspace.edit("key", "dataset", "digest", to=mine.digest)


@expect(r"but the dataset here is .*\(InvertedPendulum-v4\)")
def when_the_environment_is_another(workspace):
    workspace.edit("key", "dataset", "environment", to=synthetic.CHEETAH)


@expect(r"protocol has the number 901 but another resamples")
def when_the_protocol_draws_fewer_resamples_under_the_same_number(workspace):
    workspace.edit("key", "protocol", "resamples", to=2)


@expect(r"protocol has the number 901 but another evaluation_seeds")
def when_the_protocol_has_seeds_of_its_own(workspace):
    workspace.edit("key", "protocol", "evaluation_seeds", to=[5, 6])


@expect(r"protocol version 1152921504606846976, which this package does not know \(it knows 1, 2, 901\)")
def when_the_protocol_is_unknown(workspace):
    workspace.edit("key", "protocol", "version", to=2**60)


@expect(r"field provenance\.git_commit: ")
def when_the_commit_is_no_commit(workspace):
    workspace.edit("provenance", "git_commit", to="HEAD; rm -rf /")


@expect("made with uncommitted changes", FLAGGED)
def when_it_was_made_with_changed_code(workspace):
    workspace.edit("provenance", "git_dirty", to=True)


@expect(r"made from no known commit of tipl-bench; what is installed from a clean clone .* records its", FLAGGED)
def when_it_names_no_commit(workspace):
    workspace.edit("provenance", "git_commit", to=None)


@expect(f"{NAME} is yanked: wrong seeds", FLAGGED)
def when_the_dataset_is_yanked(workspace):
    write_catalog(digest=workspace.dataset.digest, yanked="wrong seeds")


@expect(f"{NAME} is not in the catalog", FLAGGED)
def when_nobody_else_has_the_dataset(workspace):
    (workspace.submission.parent / "store" / "catalog.toml").unlink()


@expect(r"Unknown dataset 'toy-pendulum/elsewhere-v1'")
def when_the_dataset_is_unknown(workspace):
    workspace.edit("key", "dataset", "name", to="toy-pendulum/elsewhere-v1")


# Records that break their schema or their reader.


def written(text):
    return lambda workspace: workspace.write(text(workspace.text()) if callable(text) else text)


def inserted(extra):
    return written(lambda text: text.replace('"format": 2,', f'"format": 2, {extra},', 1))


def replaced(place, value):
    return lambda workspace: workspace.edit(*place, to=value)


TEXTS = {
    "not a readable record.*nested too deeply": inserted(f'"x": {"[" * 200_000}{"]" * 200_000}'),
    "Exceeds the limit .* for integer string conversion": inserted(f'"seed": 1{"0" * 5000}'),
    "repeats a key": inserted('"format": 2'),
    "NaN is not a finite number": written(lambda text: re.sub(r'"fit_seconds": [^,]*', '"fit_seconds": NaN', text)),
    "-Infinity is not a finite number": written(
        lambda text: re.sub(r'"fit_seconds": [^,]*', '"fit_seconds": -Infinity', text)
    ),
    "1e999 is not a finite number": written(lambda text: re.sub(r'"fit_seconds": [^,]*', '"fit_seconds": 1e999', text)),
    rf"record\.json is larger than {RECORD_LIMIT} bytes": written(lambda text: text + " " * RECORD_LIMIT),
    "not a readable record": written(""),
    r"field Input should be ": written("[]"),
    r"field extra: no such field": inserted('"extra": 1'),
    r"field \\n\\x1b\[31mok: run: no such field": inserted(r'"\n\u001b[31mok: run": 1'),
    r"field x{80}: no such field": inserted(f'"{"x" * 1_000_000}": 1'),
    r"field results\.0\.phase: is missing": replaced(["results"], [{}] * 9999),
}
for reason, apply in TEXTS.items():
    expect(reason)(apply)

FIELDS = [
    (("key", "seed"), 2**70),
    (("parameter_count",), 10**18),
    (("cost", "peak_memory_bytes"), -1),
    (("key", "dataset", "name"), "../../x"),
    (("key", "dataset", "name"), "/etc/passwd-v1"),
    (("key", "dataset", "name"), "a/b-v1\n"),
    (("key", "dataset", "name"), f"{'a' * 100}/b-v1"),
    (("key", "method", "name"), "../../../tmp/escaped"),
    (("key", "method", "name"), "a" * 100),
    (("key", "method", "budget"), "quick\u202e"),
    (("key", "method", "consumes"), "weights|gradients"),
    (("key", "method", "options"), {f"option{i}": 1 for i in range(101)}),
    (("key", "device"), "cuda:0 <b>"),
    (("provenance", "isolation"), "certainly"),
    (("provenance", "cpu"), "a" * 501),
    (("results", 0, "by_trial"), {"wpe": [0.0] * 20_000}),
    (("results", 0, "phase"), "<b>learning</b>"),
    (("returns",), [["learning", 1, 0.0, 0.0]] * 1001),
]
for place, value in FIELDS:
    expect(rf"field {re.escape('.'.join(map(str, place)))}(\.wpe)?: ")(replaced(place, value))


# Numbers that are not what the forecasts give.


@expect("results: phases and horizons: the record says")
def when_the_worst_phase_is_left_out(workspace):
    workspace.edit("results", to=[m for m in json.loads(workspace.text())["results"] if m["phase"] != "converged"])


@expect("results.9 is of the same place as results.0")
def when_a_metric_is_there_twice(workspace):
    metrics = json.loads(workspace.text())["results"]
    workspace.edit("results", to=[*metrics, {**metrics[0], "layers": {}}])


@expect("learning, h = 1: layers.more: the record says 0.5, recomputed None")
def when_there_is_a_layer_too_many(workspace):
    workspace.edit("results", 0, "layers", "more", to=0.5)


@expect("by_trial.wpe has 3 numbers for 2 trials")
def when_there_is_a_trial_too_many(workspace):
    workspace.edit(
        "results", 0, "by_trial", "wpe", to=[*json.loads(workspace.text())["results"][0]["by_trial"]["wpe"], 0.0]
    )


@expect("by_trial.wpe has 2 numbers for 3 trials")
def when_the_number_of_trials_is_another(workspace):
    workspace.edit("results", 0, "trials", to=3)


@expect("returns: pair 1, forecast: the record says 123.0")
def when_a_return_is_invented(workspace):
    workspace.edit("returns", 1, 3, to=123.0)


@expect("returns: phases and horizons of the sample: the record says 0, recomputed 60")
def when_the_returns_are_left_out(workspace):
    workspace.edit("returns", to=[])


# The same from "another machine", where single episodes may part.


def as_from_elsewhere(apply):
    """A apply to a record that names another processor, so that it is compared more loosely."""

    def both(workspace):
        workspace.edit("provenance", "cpu", to="Another processor")
        apply(workspace)

    return both


def shifted(place, by):
    """Add to one number of a metric, `by` noise floors of it."""

    def apply(workspace):
        metric = json.loads(workspace.text())["results"][6]
        value = {**metric, **metric["estimates"]}
        for part in place:
            value = value[part]
        at = place if place[0] == "by_trial" else ("estimates", *place)
        workspace.edit("results", 6, *at, to=value + by * metric["estimates"]["reset_noise"]["value"])

    return apply


def returns_times(column, factor):
    def apply(workspace):
        returns = json.loads(workspace.text())["returns"]
        for pair in returns:
            pair[column] *= factor
        workspace.edit("returns", to=returns)

    return apply


OTHER_MACHINES = {
    r"all, h = 1: gain\.value: the record says 0\.0": shifted(("gain", "value"), 1),
    r"all, h = 1: gain\.high: the record says 0\.3": shifted(("gain", "high"), 3),
    r"all, h = 1: repw\.value: the record says 0\.1": shifted(("repw", "value"), 1),
    r"all, h = 1: by_trial\.repw\.0: the record says 2\.0": shifted(("by_trial", "repw", 0), 20),
    r"returns: pair \d+, forecast \(half of all 60 are off by this or more\): the record says": returns_times(3, 1.1),
    r"returns: pair \d+, true \(half of all 60 are off by this or more\): the record says": returns_times(2, 0.0),
}
for reason, apply in OTHER_MACHINES.items():
    expect(reason)(as_from_elsewhere(apply))


# Rows against rows.


@expect("the same dataset, predictor, configuration and seed as run; one of them has to go", "REFUSED: second")
def when_two_runs_are_of_one_key(workspace):
    shutil.copytree(workspace.run, workspace.submission / "second")


@expect("the board has other forecasts of the same dataset, predictor, configuration and seed")
def when_it_would_change_a_row(workspace):
    record = workspace.record
    (workspace.records / file_name(record)).write_text(
        record.model_copy(update={"artifacts": {"forecasts": "0" * 64}}).model_dump_json()
    )


def on_the_board(workspace):
    (workspace.records / file_name(workspace.record)).write_text(workspace.text())


@expect(r"the board has these forecasts .* another cost\.fit_seconds \(.*, parameter_count \(\d+ there, 1 here\)")
def when_a_row_comes_again_with_another_cost(workspace):
    on_the_board(workspace)
    workspace.edit("cost", "fit_seconds", to=0.0)
    workspace.edit("parameter_count", to=1)


@expect(r"the board has these forecasts already .* with another provenance\.gpu \(None there, \\xe9 here\)")
def when_a_row_comes_again_with_another_origin(workspace):
    on_the_board(workspace)
    workspace.edit("provenance", "gpu", to="\u00e9")


@expect(r"adds seed 1 to row toy-pendulum-\S+, whose skill goes 0\.8\d+ -> 0\.4\d+$", FLAGGED)
def when_a_strangers_seed_would_lower_a_row(workspace):
    on_the_board(workspace)
    workspace.edit("key", "seed", to=1)
    workspace.forge(forecasts=workspace.persisted(), rescored=True)


@expect("is version 2 of guest, which the board has as version 1; rows of earlier versions are greyed", FLAGGED)
def when_anothers_predictor_gets_a_version(workspace):
    on_the_board(workspace)
    workspace.edit("key", "method", "version", to=2)
    workspace.forge(forecasts=workspace.persisted(), rescored=True)


# Names and seeds.


@expect(
    r"these are not the forecasts of linear v1, .*: run again here, a skill differs by 0\.\d+ \(.*; tolerance 0\.01\)"
)
def when_other_forecasts_are_put_under_the_name_of_one_of_this_packages_predictors(workspace):
    better = 0.1 * workspace.forecasts()["forecasts"] + 0.9 * workspace.targets()
    workspace.forge(forecasts=better.astype(np.float32), rescored=True)


for name in ("Linear", "LINEAR", "l1near", "li.near"):
    expect(rf"{name} can be taken for linear, a predictor of this package; choose another name")(
        replaced(("key", "method", "name"), name)
    )


for name in ("linears", "lineal", "linear-v1"):

    @expect(rf"{name} reads like linear, a predictor of this package", FLAGGED)
    def when_a_name_is_near_one_of_this_packages(workspace, name=name):
        workspace.as_guest()
        workspace.edit("key", "method", "name", to=name)


@expect("names no code of guest: no package and no files, so that nobody can look at it", FLAGGED)
def when_the_code_is_not_stated(workspace):
    workspace.as_guest()
    workspace.edit("provenance", "code", to=None)


@expect(r"field provenance\.code\.paper")
def when_an_address_has_a_user_that_reads_like_its_host(workspace):
    workspace.as_guest()
    workspace.edit("provenance", "code", "paper", to="https://github.com@evil.example/x")


@expect(r"Guest can be taken for guest, which the board has; choose another name")
def when_a_name_is_spelled_like_that_of_a_row(workspace):
    workspace.as_guest()
    on_the_board(workspace)
    workspace.edit("key", "method", "name", to="Guest")


for seed in (3, 99, 2**63 - 1):
    expect(rf"seed {seed} is no seed of a row; the seeds of every row are 0, 1, 2")(replaced(("key", "seed"), seed))


@expect(
    r"nearly the forecasts of linear v1 \(toy-\S+\.json\): the weight errors of test trials differ by 0\.00\d+", FLAGGED
)
def when_a_row_comes_again_under_another_name_with_a_little_noise(workspace):
    workspace.edit("key", "method", "name", to="linear")
    on_the_board(workspace)
    workspace.as_guest()
    forecasts = workspace.forecasts()["forecasts"]
    noise = np.random.default_rng(0).normal(size=forecasts.shape)
    near = forecasts + 0.01 * noise * (forecasts - workspace.persisted())
    workspace.forge(forecasts=near.astype(np.float32), rescored=True)


@expect(r"nothing kept the predictor from the held-out trials while it ran \(isolation: none\)", FLAGGED)
def when_nothing_isolated_it(workspace):
    workspace.edit("provenance", "isolation", to="none")


@expect("This run cannot be submitted: its predictor was run from a file")
def when_the_predictor_is_of_no_package(workspace):
    workspace.as_guest()
    workspace.edit("provenance", "code", to={"distribution": None, "version": None, "files": {}})


for value in (1, True):

    @expect("the board has guest with options that equal these but for their types, as 1, 1.0 and true do")
    def when_an_option_is_spelled_as_another_type(workspace, value=value):
        workspace.as_guest()
        on_the_board(workspace)
        workspace.edit("key", "method", "options", "damping", to=value)


# What is no whole number, though it equals one in Python.

for place in (
    ("key", "seed"),
    ("key", "method", "version"),
    ("parameter_count",),
    ("results", 0, "windows"),
    ("results", 0, "trials"),
    ("results", 0, "horizon"),
):
    for value in (True, 1.0, "1"):
        expect(rf"field {re.escape('.'.join(map(str, place)))}: ")(replaced(place, value))

# Claims of this package's own predictors.

CLAIMS = {
    r"says version 3 of linear, which has 1 here": ("version", 3),
    r"says consumes gradients of linear, which has weights here": ("consumes", "gradients"),
    r"options that linear cannot have: Unknown budget 'huge'": ("budget", "huge"),
    r"options that linear cannot have: .*nonsense": ("options", {"points": 999, "nonsense": True}),
    r"options that linear cannot have: linear: option points is 999": ("options", {"points": 999, "damping": 1.0}),
    r"options that linear cannot have: .*points .* got 'true'": ("options", {"points": True, "damping": 1.0}),
    r"options that linear cannot have: .* got '\\xe9": ("options", {"points": "\u00e9" * 500, "damping": 1.0}),
    r"says option damping = 1 of linear, which comes out as 1\.0": ("options", {"points": 2, "damping": 1}),
    r"says option damping = None of linear, which comes out as 1\.0": ("options", {"points": 2}),
}
for reason, (field, value) in CLAIMS.items():
    expect(reason)(replaced(("key", "method", field), value))
