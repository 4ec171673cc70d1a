"""Submissions that mean harm or are not so: each is refused or flagged by name, and the board stays as it is."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tipl_bench
import toy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from registry_helpers import safetensors_bytes
from submissions import NAME, Desk, write_catalog
from tipl_bench.benchmark.record import RECORD_LIMIT, read_record
from tipl_bench.leaderboard.records import file_name
from tipl_bench.leaderboard.verification.check import check
from tipl_bench.leaderboard.verification.folder import open_run
from tipl_bench.leaderboard.verification.rescore import read_windows
from tipl_bench.registry.errors import ProtocolError
from tipl_bench.registry.hub.download import load

REFUSED, DOUBTFUL = "REFUSED: run", "TO BE LOOKED AT: run"
WHOLE = "Error: "  # the submission as a whole, before any run of it


@dataclass(frozen=True)
class Attack:
    """What is done to a good submission, the verdict it must get, and words that the reason must hold."""

    harm: Callable[[Desk], object]
    verdict: str
    reason: str


ATTACKS: list[Attack] = []


def told(reason: str, verdict: str = REFUSED) -> Callable[[Callable[[Desk], object]], Callable[[Desk], object]]:
    """Enter an attack into the table, with what `leaderboard check` must say of it."""

    def enter(harm: Callable[[Desk], object]) -> Callable[[Desk], object]:
        ATTACKS.append(Attack(harm, verdict, reason))
        return harm

    return enter


# Another dataset, protocol or origin than it says.


@told(rf"made on {NAME} .* with digest {'0' * 64}, but the dataset here")
def when_the_digest_is_another(desk):
    desk.edit("key", "dataset", "digest", to="0" * 64)


@told(r"made on .* with digest [0-9a-f]{64}, but the dataset here")
def when_a_dataset_of_the_same_name_has_another_split(desk):
    split = desk.dataset.manifest.split
    other = split.model_copy(update={"train": split.test + split.train[2:], "test": split.train[:2]})
    mine = toy.smooth_dataset(desk.submission.parent / "mine", split=other)
    assert mine.name == desk.dataset.name
    desk.edit("key", "dataset", "digest", to=mine.digest)


@told(r"but the dataset here is .*\(InvertedPendulum-v4\)")
def when_the_environment_is_another(desk):
    desk.edit("key", "dataset", "environment", to=toy.CHEETAH)


@told(r"protocol has the number 901 but another resamples")
def when_the_protocol_draws_fewer_resamples_under_the_same_number(desk):
    desk.edit("key", "protocol", "resamples", to=2)


@told(r"protocol has the number 901 but another evaluation_seeds")
def when_the_protocol_has_seeds_of_its_own(desk):
    desk.edit("key", "protocol", "evaluation_seeds", to=[5, 6])


@told(r"protocol version 1152921504606846976, which this package does not know \(it knows 1, 901\)")
def when_the_protocol_is_unknown(desk):
    desk.edit("key", "protocol", "version", to=2**60)


@told(r"field provenance\.git_commit: ")
def when_the_commit_is_no_commit(desk):
    desk.edit("provenance", "git_commit", to="HEAD; rm -rf /")


@told("made with uncommitted changes", DOUBTFUL)
def when_it_was_made_with_changed_code(desk):
    desk.edit("provenance", "git_dirty", to=True)


@told(f"{NAME} is yanked: wrong seeds", DOUBTFUL)
def when_the_dataset_is_yanked(desk):
    write_catalog(digest=desk.dataset.digest, yanked="wrong seeds")


@told(f"{NAME} is not in the catalog", DOUBTFUL)
def when_nobody_else_has_the_dataset(desk):
    (desk.submission.parent / "store" / "catalog.toml").unlink()


@told(r"Unknown dataset 'toy-pendulum/elsewhere-v1'")
def when_the_dataset_is_unknown(desk):
    desk.edit("key", "dataset", "name", to="toy-pendulum/elsewhere-v1")


# Forecasts that are not forecasts.


@told("above the span ceiling", DOUBTFUL)
def when_the_targets_are_the_forecasts(desk):
    desk.forge(forecasts=desk.targets(), rescored=True)


@told("above the span ceiling", DOUBTFUL)
def when_the_forecasts_are_the_targets_with_a_little_noise(desk):
    noise = np.random.default_rng(0).normal(size=desk.targets().shape) * 2e-4
    desk.forge(forecasts=(desk.targets() + noise).astype(np.float32), rescored=True)


@told(r"3 of 60 forecasts are all but their targets, the first at trial \d+, origin \d+, h = 1", DOUBTFUL)
def when_one_window_is_copied_from_its_targets(desk):
    forecasts = desk.forecasts()["forecasts"].copy()
    forecasts[4] = desk.targets()[4]
    desk.forge(forecasts=forecasts, rescored=True)


def spoiled(value):
    def harm(desk):
        forecasts = desk.forecasts()["forecasts"].copy()
        forecasts[3, 1, 5] = value
        desk.forge(forecasts=forecasts)

    return harm


told(r"forecast of trial \d+, origin \d+ is not finite")(spoiled(np.nan))
told(r"forecast of trial \d+, origin \d+ is not finite")(spoiled(-np.inf))


@told(r"learning, h = 1: skill.value: the record says 0\.81\d*, recomputed -7\.\d*e\+79")
def when_the_forecasts_are_enormous(desk):
    signs = np.where(np.arange(desk.forecasts()["forecasts"].shape[-1]) % 2, 1, -1)
    desk.forge(forecasts=np.zeros_like(desk.forecasts()["forecasts"]) + np.float32(1e38) * signs.astype(np.float32))


@told(r"tensor 'forecasts' is float32 \[20, 2, \d+\], where the protocol asks for float32 \[20, 3, \d+\]")
def when_the_horizon_is_another(desk):
    desk.forge(forecasts=np.ascontiguousarray(desk.forecasts()["forecasts"][:, :2]))


@told(r"tensor 'forecasts' is float32 \[19, .*asks for float32 \[20, ")
def when_a_window_is_missing(desk):
    desk.forge(**{name: tensor[:-1].copy() for name, tensor in desk.forecasts().items()})


@told(r"window 0 is of trial \d+, origin \d+, where the protocol asks for trial \d+, origin \d+")
def when_windows_are_swapped(desk):
    order = [1, 0, *range(2, 20)]
    desk.forge(**{name: tensor[order] for name, tensor in desk.forecasts().items()})


@told(r"learning, h = 1: skill.value: the record says ")
def when_the_forecasts_of_two_windows_are_swapped(desk):
    desk.forge(forecasts=desk.forecasts()["forecasts"][[9, *range(1, 9), 0, *range(10, 20)]])


@told(r"window 0 is of trial 0, ")
def when_the_forecasts_are_of_a_training_trial(desk):
    desk.forge(trial=np.zeros(20, dtype=np.int64))


@told(r"tensor 'forecasts' is float32 \[20, 3, 31\]")
def when_a_parameter_is_missing(desk):
    desk.forge(forecasts=np.ascontiguousarray(desk.forecasts()["forecasts"][..., :31]))


@told(r"tensor 'forecasts' is float64 ")
def when_the_forecasts_are_doubles(desk):
    desk.forge(forecasts=desk.forecasts()["forecasts"].astype(np.float64))


@told(r"tensor 'payload' is float32 \[3\], where the protocol asks for absent")
def when_there_is_a_tensor_too_many(desk):
    desk.forge(payload=np.zeros(3, dtype=np.float32))


@told(r"tensor 'aaaaa.{0,90} is float32 \[0\], where the protocol asks for absent")
def when_the_name_of_a_tensor_is_half_a_megabyte(desk):
    desk.forge(**{"a" * 500_000: np.zeros(0, dtype=np.float32)})


@told(r"has sha256 [0-9a-f]{64}, but the record says f{64}")
def when_the_record_states_another_sha256(desk):
    desk.edit("forecasts_sha256", to="f" * 64)


@told(r"has sha256 [0-9a-f]{64}, but the record says [0-9a-f]{64}; one of them was changed")
def when_a_bit_of_the_forecasts_is_changed(desk):
    path = desk.run / "forecasts.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@told(r"learning, h = 1: skill.value: the record says 0\.8109\d*, recomputed 0\.84")
def when_the_forecasts_are_better_and_the_record_is_that_of_others(desk):
    forecasts = desk.forecasts()["forecasts"]
    desk.forge(forecasts=(0.9 * forecasts + 0.1 * desk.targets()).astype(np.float32))


# Safetensors headers that are bombs.

SPAN = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
HEADERS = {
    "claims a length beyond all files": (
        struct.pack("<Q", 2**63) + b"{}",
        "its header claims 9223372036854775808 bytes",
    ),
    "is nested deeply": (safetensors_bytes(b'{"a":' * 100_000), "nested too deeply"),
    "repeats a key": (safetensors_bytes(b'{"a":1,"a":2}'), "repeats a key"),
    "overlaps its tensors": (safetensors_bytes({"a": SPAN, "b": SPAN}, bytes(8)), "'b' does not begin where"),
    "has negative offsets": (
        safetensors_bytes({"a": {**SPAN, "data_offsets": [-8, 0]}}, bytes(8)),
        "are not natural numbers",
    ),
    "has offsets beyond the file": (
        safetensors_bytes({"a": {**SPAN, "shape": [2**40], "data_offsets": [0, 2**42]}}, bytes(8)),
        "its tensors end at byte",
    ),
    "has a hundred thousand axes": (
        safetensors_bytes({"a": {**SPAN, "shape": [2**47] * 60_000}}),
        "tensor 'a': shape [1407",
    ),
    "has a shape that is no list": (safetensors_bytes({"a": {**SPAN, "shape": {"x": 1}}}, bytes(8)), "natural numbers"),
    "is a list": (safetensors_bytes([1, 2]), "not a JSON object"),
    "is empty": (b"", "its header claims 0 bytes"),
    "is a pickle": (b"\x80\x04cos\nsystem\n(S'true'\ntR.", "its header claims"),
}


def header(content):
    return lambda desk: desk.raw_forecasts(content)


for content, reason in HEADERS.values():
    told(re.escape(reason))(header(content))


@told("its header claims 200000000 bytes")
def when_the_header_has_200_megabytes(desk):
    with (desk.run / "forecasts.safetensors").open("wb") as stream:
        stream.write(struct.pack("<Q", 200_000_000))
        stream.truncate(200_000_100)  # sparse


# Records that break their schema or their reader.


def written(text):
    return lambda desk: desk.write(text(desk.text()) if callable(text) else text)


def inserted(extra):
    return written(lambda text: text.replace('"format": 1,', f'"format": 1, {extra},', 1))


def replaced(place, value):
    return lambda desk: desk.edit(*place, to=value)


TEXTS = {
    "not a readable record.*nested too deeply": inserted(f'"x": {"[" * 200_000}{"]" * 200_000}'),
    "Exceeds the limit .* for integer string conversion": inserted(f'"seed": 1{"0" * 5000}'),
    "repeats a key": inserted('"format": 1'),
    "NaN is not a finite number": written(lambda text: re.sub(r'"fit_seconds": [^,]*', '"fit_seconds": NaN', text)),
    "-Infinity is not a finite number": written(
        lambda text: re.sub(r'"fit_seconds": [^,]*', '"fit_seconds": -Infinity', text)
    ),
    "1e999 is not a finite number": written(lambda text: re.sub(r'"fit_seconds": [^,]*', '"fit_seconds": 1e999', text)),
    rf"record\.json is larger than {RECORD_LIMIT} bytes": written(lambda text: text + " " * RECORD_LIMIT),
    "not a readable record": written(""),
    r"field : Input should be ": written("[]"),
    r"field extra: Extra inputs are not permitted": inserted('"extra": 1'),
    r"field \\n\\x1b\[31mok: run: Extra inputs": inserted(r'"\n\u001b[31mok: run": 1'),
    r"field x{80}: Extra inputs": inserted(f'"{"x" * 1_000_000}": 1'),
    r"field metrics\.0\.phase: Field required": replaced(["metrics"], [{}] * 9999),
}
for reason, harm in TEXTS.items():
    told(reason)(harm)

FIELDS = [
    (("key", "seed"), 2**70),
    (("parameter_count",), 10**18),
    (("cost", "peak_memory_bytes"), -1),
    (("key", "dataset", "name"), "../../x"),
    (("key", "dataset", "name"), "/etc/passwd-v1"),
    (("key", "dataset", "name"), "a/b-v1\n"),
    (("key", "dataset", "name"), f"{'a' * 100}/b-v1"),
    (("key", "predictor", "name"), "../../../tmp/escaped"),
    (("key", "predictor", "name"), "a" * 100),
    (("key", "predictor", "budget"), "quick\u202e"),
    (("key", "predictor", "consumes"), "weights|gradients"),
    (("key", "predictor", "options"), {f"option{i}": 1 for i in range(101)}),
    (("key", "device"), "cuda:0 <b>"),
    (("provenance", "isolation"), "certainly"),
    (("provenance", "cpu"), "a" * 501),
    (("metrics", 0, "by_trial"), {"wpe": [0.0] * 20_000}),
    (("metrics", 0, "phase"), "<b>learning</b>"),
    (("returns",), [["learning", 1, 0.0, 0.0]] * 1001),
]
for place, value in FIELDS:
    told(rf"field {re.escape('.'.join(map(str, place)))}(\.wpe)?: ")(replaced(place, value))


# Numbers that are not what the forecasts give.


@told("metrics: phases and horizons: the record says")
def when_the_worst_phase_is_left_out(desk):
    desk.edit("metrics", to=[m for m in json.loads(desk.text())["metrics"] if m["phase"] != "converged"])


@told("metrics: phases and horizons: the record says")
def when_a_metric_is_there_twice(desk):
    metrics = json.loads(desk.text())["metrics"]
    desk.edit("metrics", to=[*metrics, {**metrics[0], "skill": {"value": 1.0, "low": 1.0, "high": 1.0}}])


@told("learning, h = 1: layers.more: the record says 0.5, recomputed None")
def when_there_is_a_layer_too_many(desk):
    desk.edit("metrics", 0, "layers", "more", to=0.5)


@told("learning, h = 1: by_trial.wpe.length: the record says 3, recomputed 2")
def when_there_is_a_trial_too_many(desk):
    desk.edit("metrics", 0, "by_trial", "wpe", to=[*json.loads(desk.text())["metrics"][0]["by_trial"]["wpe"], 0.0])


@told("returns: pair 1, forecast: the record says 123.0")
def when_a_return_is_invented(desk):
    desk.edit("returns", 1, 3, to=123.0)


@told("returns: phases and horizons of the sample: the record says 0, recomputed 60")
def when_the_returns_are_left_out(desk):
    desk.edit("returns", to=[])


@told(r"windows\.parquet: not readable as Parquet; the process that read it did not live")
def when_a_codec_that_there_is_not_makes_arrow_abort(desk):
    path = desk.run / "windows.parquet"
    content = path.read_bytes()
    column = b"\x19\x18\x05trial\x15"  # Thrift's path of a column, and the field of its codec
    assert column + b"\x02" in content
    path.write_bytes(content.replace(column + b"\x02", column + b"\x7f"))


def rows_changed(change, **options):
    """`windows.parquet`, rewritten."""

    def harm(desk):
        path = desk.run / "windows.parquet"
        change(pd.read_parquet(path)).to_parquet(path, index=False, **options)

    return harm


def one_number(rows):
    rows.loc[7, "wpe"] *= 0.999
    return rows


def one_missing(rows):
    rows["origin"] = rows["origin"].astype("Int64").where(rows.index != 7)
    return rows


PARQUETS = {
    r"windows\.parquet: row 7, wpe: the record says": rows_changed(one_number),
    r"windows\.parquet: row 7, origin: the record says None": rows_changed(one_missing),
    r"windows\.parquet: holds 10000 rows, where the protocol asks for 60": rows_changed(
        lambda rows: pd.concat([rows] * 167, ignore_index=True)[:10_000]
    ),
    r"windows\.parquet: its columns are not those of a run": rows_changed(lambda rows: rows.drop(columns="gain")),
    r"windows\.parquet: its columns are not those of a (run)": rows_changed(lambda r: r.assign(wpe="x" * (1 << 20))),
    r"windows\.parquet: its (columns) are not": rows_changed(lambda rows: rows.assign(more="x")),
    r"windows\.parquet: compressed as GZIP, which a run is not": rows_changed(lambda r: r, compression="gzip"),
    r"windows\.parquet: compressed as ZSTD, which a run is not": rows_changed(lambda r: r, compression="zstd"),
    r"windows\.parquet: not readable as Parquet": lambda desk: (desk.run / "windows.parquet").write_bytes(b"PAR1PAR1"),
    r"windows\.parquet: larger than": lambda desk: os.truncate(desk.run / "windows.parquet", 1 << 33),
}
for reason, harm in PARQUETS.items():
    told(reason)(harm)


# Folders that are not a run.


@told("'forecasts.safetensors' is not a plain file; links and folders are not taken")
def when_the_forecasts_are_a_link_out_of_the_folder(desk):
    path = desk.run / "forecasts.safetensors"
    path.rename(desk.submission.parent / "elsewhere")
    path.symlink_to(desk.submission.parent / "elsewhere")


@told("'record.json' is not a plain file")
def when_the_record_is_a_link(desk):
    (desk.run / "record.json").unlink()
    (desk.run / "record.json").symlink_to("/etc/hostname")


@told("'windows.parquet' is not a plain file")
def when_a_file_is_a_pipe(desk):
    (desk.run / "windows.parquet").unlink()
    os.mkfifo(desk.run / "windows.parquet")


@told("'forecasts.safetensors' is not a plain file")
def when_a_file_is_a_folder(desk):
    (desk.run / "forecasts.safetensors").unlink()
    (desk.run / "forecasts.safetensors").mkdir()


@told(r"'x\\nok: run' is none of a run's files")
def when_a_file_name_holds_a_line_break(desk):
    (desk.run / "x\nok: run").touch()


@told("'conftest.py' is none of a run's files")
def when_there_is_code_beside_it(desk):
    (desk.run / "conftest.py").write_text("raise SystemExit(0)")


@told("is none of a run's files")
def when_there_are_ten_thousand_files_beside_it(desk):
    for number in range(10_000):
        (desk.run / f"{number}.json").touch()


@told("forecasts.safetensors is missing")
def when_there_are_no_forecasts(desk):
    (desk.run / "forecasts.safetensors").unlink()


@told(r"'run\\nok: other' is not a run folder", WHOLE)
def when_the_folders_name_forges_a_line_of_the_report(desk):
    desk.run.rename(desk.submission / "run\nok: other")


@told(r"'run\\udcff\\u202e' is not a run folder", WHOLE)
def when_the_folders_name_is_no_text(desk):
    os.rename(bytes(desk.run), bytes(desk.submission) + b"/run\xff\xe2\x80\xae")  # noqa: PTH104


@told("'link' is not a run folder", WHOLE)
def when_a_run_is_a_link(desk):
    (desk.submission / "link").symlink_to(desk.run)


@told("holds 10001 entries; a submission has at most 100 runs", WHOLE)
def when_there_are_ten_thousand_folders(desk):
    for number in range(10_000):
        (desk.submission / str(number)).mkdir()


@told("holds no run", WHOLE)
def when_there_is_nothing(desk):
    shutil.rmtree(desk.run)


# Rows against rows.


@told("the same dataset, predictor, configuration and seed as run; one of them has to go", "REFUSED: second")
def when_two_runs_are_of_one_key(desk):
    shutil.copytree(desk.run, desk.submission / "second")


@told("the board has another result of the same dataset, predictor, configuration and seed")
def when_it_would_change_a_row(desk):
    record = desk.record
    (desk.records / file_name(record)).write_text(record.model_copy(update={"parameter_count": 5}).model_dump_json())


@contextlib.contextmanager
def little_memory(more: int = 1 << 30) -> Iterator[None]:
    """No more address space than this process has now, and a little."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def named(attack: Attack) -> str:
    return attack.harm.__name__ if attack.harm.__name__.startswith("when") else attack.reason[:60]


@pytest.mark.parametrize("attack", ATTACKS, ids=named)
def test_a_hostile_submission_is_told_by_name_and_the_board_stays(attack, desk):
    attack.harm(desk)
    board, beside = desk.board(), sorted(desk.submission.parent.rglob("*"))
    with little_memory():
        result = desk.check()
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    lines = result.output.splitlines()
    assert any(line.startswith(attack.verdict) for line in lines), result.output
    assert any(re.search(attack.reason, line) for line in lines), result.output
    assert len(result.output) < 20_000
    assert result.output.isascii(), "nothing of a stranger's reaches the terminal as it is"
    assert "\x1b" not in result.output
    assert desk.board() == board
    made = {path for path in desk.submission.parent.rglob("*") if "store" not in path.parts} - {*beside}
    assert not made


def test_a_good_submission_passes_with_all_its_numbers(desk):
    board = desk.board()
    result = desk.check()
    assert result.exit_code == 0, result.output
    assert re.search(r"ok: run\n  1,\d{3} numbers recomputed from the forecasts; all agree", result.output)
    assert desk.check(desk.run).exit_code == 0
    assert desk.board() == board


def test_when_the_commit_is_unknown_then_it_is_doubted(desk):
    if not (Path(tipl_bench.__file__).parent / ".git").exists():
        pytest.skip("an installed wheel knows no commits")
    desk.edit("provenance", "git_commit", to="12" * 20)
    result = desk.check()
    assert result.exit_code == 1
    assert f"names commit {'12' * 20}, which this repository does not have" in result.output


def test_when_the_strangers_own_dataset_is_given_then_the_catalog_still_decides(desk):
    mine = toy.walking_dataset(desk.submission.parent / "mine")
    desk.edit("key", "dataset", "digest", to=mine.digest)
    desk.score_honestly(mine)
    result = desk.check(desk.submission, "--dataset", mine.folder)
    assert result.exit_code == 1
    assert f"the catalog pins another digest of {NAME}" in result.output


def test_when_one_run_is_bad_then_the_others_are_still_checked(desk):
    shutil.copytree(desk.run, desk.submission / "again")
    (desk.submission / "again" / "forecasts.safetensors").write_bytes(b"")
    result = desk.check()
    assert result.exit_code == 1
    assert "REFUSED: again" in result.output
    assert "REFUSED: run" in result.output, "it is of the same key"


@given(data=st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_when_any_byte_of_the_record_flips_then_no_other_number_passes(desk, data):
    path = desk.run / "record.json"
    good = path.read_bytes()
    record = desk.record
    place = data.draw(st.integers(0, len(good) - 1))
    content = bytearray(good)
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        (found,) = check([desk.run], desk.records, load)
        if found.passed:
            assert numbers(found.record) == pytest.approx(numbers(record), rel=1e-9, abs=0)
            assert found.record.key.protocol == record.key.protocol
            assert found.record.key.dataset == record.key.dataset
            assert found.record.forecasts_sha256 == record.forecasts_sha256
    finally:
        path.write_bytes(good)


@given(data=st.data())
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_when_any_byte_of_the_forecasts_flips_then_it_does_not_pass(desk, data):
    path = desk.run / "forecasts.safetensors"
    good = path.read_bytes()
    # Half of the draws go into the header, where there is most to go wrong.
    last = data.draw(st.sampled_from([300, len(good) - 1]))
    content = bytearray(good)
    content[data.draw(st.integers(0, last))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        (found,) = check([desk.run], desk.records, load)
        assert found.problems
        assert found.rescored is None
    finally:
        path.write_bytes(good)


@given(data=st.data())
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_when_any_byte_of_the_windows_flips_then_it_is_told_or_read_in_full(desk, data):
    path = desk.run / "windows.parquet"
    good = path.read_bytes()
    like = pd.read_parquet(path)
    run = open_run(desk.run, desk.dataset)
    content = bytearray(good)
    content[data.draw(st.integers(len(good) // 2, len(good) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        found = read_windows(run, like)
    except ProtocolError:
        found = None
    finally:
        path.write_bytes(good)
    if found is not None:
        assert {name: len(values) for name, values in found.items()} == dict.fromkeys(found, len(like))


def numbers(record):
    """Every number of a record that can be recomputed, in order."""
    from submissions import leaves

    stated = record.model_dump(mode="json", include={"metrics", "returns"})
    return [value for _, value in leaves(stated) if isinstance(value, int | float)]


def test_a_record_is_read_as_it_was_written(desk):
    assert read_record(desk.run / "record.json") == desk.record
    assert pq.read_table(desk.run / "windows.parquet").num_rows == 60
    assert pa.types.is_float64(pq.read_schema(desk.run / "windows.parquet").field("wpe").type)
