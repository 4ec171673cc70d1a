"""The record: canonical, and hostile until checked when it is read back."""

from __future__ import annotations

import json
import re

import pytest
from helpers import synthetic
from tipl_bench.benchmark.record import RECORD_LIMIT, Record, read_record
from tipl_bench.benchmark.request import RunRequest
from tipl_bench.benchmark.run import execute
from tipl_bench.utils.errors import ProtocolError


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Record:
    """The record of a finished run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIPL_BENCH_HOME", str(tmp_path_factory.mktemp("store")))
        folder = tmp_path_factory.mktemp("record")
        dataset = synthetic.smooth_dataset(folder / "set")
        return execute(RunRequest("linear", dataset, protocol=synthetic.SMALL, device="cpu"), folder / "run").record


def test_when_a_record_is_written_then_reading_gives_it_back(finished, tmp_path):
    finished.write(tmp_path)
    assert read_record(tmp_path / "record.json") == finished


def test_when_only_the_cost_differs_then_records_are_equal_without_it(finished):
    slower = finished.model_copy(update={"cost": finished.cost.model_copy(update={"fit_seconds": 99.0})})
    other = finished.model_copy(update={"parameter_count": 1})
    assert slower != finished
    assert slower.without_cost() == finished.without_cost() != other.without_cost()
    assert "cost" not in json.loads(finished.without_cost())


def changed(path, value):
    """An edit of one dotted place of a record's JSON."""

    def edit(record):
        *parents, last = path
        for key in parents:
            record = record[key]
        record[last] = value

    return edit


EDITS = {
    "extra": changed(["extra"], 1),
    "key.extra": changed(["key", "extra"], 1),
    "cost.extra": changed(["cost", "extra"], 1),
    "results.0.estimates.skill.extra": changed(["results", 0, "estimates", "skill", "extra"], 0.5),
    "results.2.phase": changed(["results", 2, "phase"], "winning"),
    "results.0.horizon": changed(["results", 0, "horizon"], 0),
    "results.0.windows": changed(["results", 0, "windows"], "many"),
    "artifacts.forecasts": changed(["artifacts", "forecasts"], "0" * 63 + "G"),
    "key.dataset.digest": changed(["key", "dataset", "digest"], "short"),
    "key.method.name": changed(["key", "method", "name"], "x" * 501),
    "format": changed(["format"], 3),
    "provenance.cpu": changed(["provenance", "cpu"], None),
    "key.seed": changed(["key", "seed"], "0"),
    "key.protocol.resamples": changed(["key", "protocol", "resamples"], "99"),
    "results.1.estimates.skill.value": changed(["results", 1, "estimates", "skill", "value"], "0.5"),
    "results.1.by_trial.wpe.0": changed(["results", 1, "by_trial", "wpe", 0], True),
    "results.0.trials": changed(["results", 0, "trials"], 2**53),
}


@pytest.mark.parametrize("field", EDITS)
def test_when_a_field_is_not_what_it_must_be_then_it_is_named(field, finished, tmp_path):
    record = finished.model_dump(mode="json")
    EDITS[field](record)
    path = tmp_path / "record.json"
    path.write_text(json.dumps(record))
    with pytest.raises(ProtocolError) as caught:
        read_record(path)
    assert str(caught.value).startswith(f"{path}: field {field}")


def repeated(record):
    record["results"].append(record["results"][0])


UNFIT = {
    "results is empty": changed(["results"], []),
    "results.9 is of the same place as results.0": repeated,
    "by_trial.wpe has 1 numbers for 2 trials": changed(["results", 1, "by_trial", "wpe"], [1.0]),
    "results.1.by_trial.repw is missing": lambda record: record["results"][1]["by_trial"].pop("repw"),
    "results.1.by_trial.luck is not known": changed(["results", 1, "by_trial", "luck"], [1.0, 1.0]),
    "results.1.estimates.state is not known": changed(
        ["results", 1, "estimates", "state"], {"value": 1.0, "low": None, "high": None}
    ),
    "results.1.environment: Input should be null": changed(["results", 1, "environment"], "Hopper-v4"),
    "results.1.phase: Input should be 'learning', 'converged' or 'all'": changed(["results", 1, "phase"], None),
}


@pytest.mark.parametrize("message", UNFIT)
def test_when_results_do_not_fit_together_then_it_is_said_how(message, finished, tmp_path):
    record = finished.model_dump(mode="json")
    assert (len(record["results"]), record["results"][1]["trials"]) == (9, 2)
    UNFIT[message](record)
    (tmp_path / "record.json").write_text(json.dumps(record))
    with pytest.raises(ProtocolError, match=re.escape(message)):
        read_record(tmp_path / "record.json")


@pytest.mark.parametrize("field", ["format", "track", "status", "key", "cost", "results", "artifacts", "provenance"])
def test_when_a_field_is_missing_then_it_is_named(field, finished, tmp_path):
    record = finished.model_dump(mode="json")
    del record[field]
    (tmp_path / "record.json").write_text(json.dumps(record))
    with pytest.raises(ProtocolError, match=f"field {field}"):
        read_record(tmp_path / "record.json")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_when_a_number_is_not_finite_then_the_record_is_refused(number, finished, tmp_path):
    cost = finished.cost.model_copy(update={"fit_seconds": 12.5})
    text = finished.model_copy(update={"cost": cost}).model_dump_json()
    value = '"fit_seconds":12.5'
    assert text.count(value) == 1
    (tmp_path / "record.json").write_text(text.replace(value, f'"fit_seconds":{number}'))
    with pytest.raises(ProtocolError, match=r"record\.json: .*(is not JSON|finite)"):
        read_record(tmp_path / "record.json")


def test_when_a_key_is_repeated_then_the_record_is_refused(finished, tmp_path):
    text = finished.model_dump_json().replace('"format":2', '"format":2,"parameter_count":0,"format":2', 1)
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(ProtocolError, match="repeats a key"):
        read_record(tmp_path / "record.json")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'"record"', b"\xff\xfe{}", b"[" * 100_000, b"9" * 5000, b'{"format": 1} extra'],
    ids=["empty", "open", "list", "null", "string", "not utf-8", "deep", "long integer", "trailing"],
)
def test_when_a_file_is_not_a_record_then_it_is_named(content, tmp_path):
    (tmp_path / "record.json").write_bytes(content)
    with pytest.raises(ProtocolError, match=r"record\.json: "):
        read_record(tmp_path / "record.json")


def test_when_a_record_is_oversized_then_it_is_not_even_parsed(finished, tmp_path):
    text = finished.model_dump_json()
    (tmp_path / "record.json").write_text(text + " " * (RECORD_LIMIT + 1 - len(text)))
    with pytest.raises(ProtocolError, match=f"larger than {RECORD_LIMIT} bytes"):
        read_record(tmp_path / "record.json")


def test_when_there_is_no_record_then_its_path_is_named(tmp_path):
    with pytest.raises(ProtocolError, match=r"record\.json: not a readable record"):
        read_record(tmp_path / "record.json")


def test_when_keys_differ_then_each_difference_is_named_with_both_values(finished):
    protocol = finished.key.protocol.model_copy(update={"horizon": 4})
    other = finished.key.model_copy(update={"seed": 7, "protocol": protocol})
    assert finished.key.differences(finished.key) == []
    assert finished.key.differences(other) == ["protocol.horizon: 3 here, 4 there", "seed: 0 here, 7 there"]
