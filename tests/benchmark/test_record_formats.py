"""Records of the first format and of the other track: read, kept value by value, and refused where they lie."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tipl_bench
from helpers.board_records import record
from helpers.submission_workspace import leaves
from helpers.training_records import training_run
from tipl_bench.benchmark.metrics import of_protocol
from tipl_bench.benchmark.protocol import PROTOCOLS
from tipl_bench.benchmark.record import RECORD_LIMIT, DatasetIdentity, Record, Status, read_record
from tipl_bench.benchmark.training.record import is_training_record, read_training_record
from tipl_bench.leaderboard.store.evidence import FOLDER, fingerprint, row_status
from tipl_bench.leaderboard.store.records import add, file_name
from tipl_bench.registry.catalog import catalog
from tipl_bench.utils.errors import ProtocolError

SCRIPT = Path(__file__).parents[2] / "scripts" / "migrate_records.py"
FORMER = json.loads((Path(__file__).parent / "data" / "record-format-1.json").read_text())
OF_A_RESULT = ("phase", "horizon", "windows", "trials", "layers", "by_trial")


def moved(place):
    """Where a value of format 1 stands in format 2."""
    match place:
        case ("forecasts_sha256",):
            return ("artifacts", "forecasts")
        case ("key", "predictor", *rest):
            return ("key", "method", *rest)
        case ("metrics", number, name, *rest) if name in OF_A_RESULT:
            return ("results", number, name, *rest)
        case ("metrics", number, *rest):
            return ("results", number, "estimates", *rest)
    return place


@pytest.fixture
def former(tmp_path):
    """A folder with a record of format 1, as it was once committed, and its evidence."""
    folder = tmp_path / "records"
    (folder / FOLDER).mkdir(parents=True)
    name = "hopper--ppo-mini-v1__persistence-quick-4e5d60df__seed0.json"
    (folder / name).write_text(json.dumps(FORMER["record"]))
    (folder / FOLDER / name).write_text(json.dumps(FORMER["evidence"]))
    return folder / name


def renamed(place):
    """Where a value of a metric that was renamed is now."""
    return tuple("reset_noise" if part == "noise_floor" else part for part in place)


def test_when_a_record_is_of_format_1_then_every_value_of_it_is_read(former):
    read = dict(leaves(read_record(former).model_dump(mode="json")))
    kept = {renamed(moved(place)): value for place, value in leaves(FORMER["record"]) if place != ("format",)}
    assert len(kept) > 1000
    assert {place: read[place] for place in kept} == kept
    added = {place[-1] for place in read.keys() - kept.keys()}
    assert added == {
        "format", "track", "state", "stage", "reason", "environment", "digest_format", "former_digest", "split",
        "limit", "validation_runs", "code",
    }  # fmt: skip


def test_when_a_catalogued_dataset_was_known_by_its_former_digest_then_both_are_known(former):
    bundled = catalog()["inverted-pendulum/ppo-head-v1"]
    document = json.loads(former.read_text())
    document["key"]["dataset"] = {
        "name": "inverted-pendulum/ppo-head-v1", "digest": bundled.former_digest, "environment": bundled.environment
    }  # fmt: skip
    former.write_text(json.dumps(document))
    identity = read_record(former).key.dataset
    assert (identity.digest, identity.digest_format) == (bundled.digest, 2)
    assert identity.first_digest == identity.former_digest == bundled.former_digest


def test_when_records_are_migrated_then_their_names_values_and_evidence_stay(former):
    before = read_record(former)
    assert file_name(before) == former.name
    assert row_status(former, before).state == "rescored", "evidence names it while it is of format 1"
    for migrated in (1, 0):
        done = subprocess.run([sys.executable, SCRIPT, former.parent], capture_output=True, text=True, check=True)
        assert done.stdout == f"{migrated} records migrated\n"
    after = read_record(former)
    assert after == before
    assert json.loads(former.read_text())["format"] == 2
    assert row_status(former, after).state == "rescored"
    (piece,) = json.loads((former.parent / FOLDER / former.name).read_text())
    assert piece == FORMER["evidence"][0] | {"record": fingerprint(after)}


def test_when_a_record_of_format_1_is_another_than_its_evidence_names_then_it_is_claimed(former):
    of_another = read_record(former).model_copy(update={"parameter_count": 1})
    assert row_status(former, of_another).state == "claimed"
    document = json.loads(former.read_text())
    former.write_text(json.dumps(document | {"parameter_count": 1}))
    assert row_status(former, read_record(former)).state == "claimed"


def test_when_a_record_names_no_format_then_migrating_says_so(former):
    document = json.loads(former.read_text())
    del document["format"]
    former.write_text(json.dumps(document))
    done = subprocess.run([sys.executable, SCRIPT, former.parent], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{former}: field format: is missing.")
    assert json.loads(former.read_text()) == document


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        (("results",), [], "results"),
        (("track",), "other", "track"),
        (("metrics",), [], "metrics"),
        (("metrics", 0, "skill"), 0.5, "results.0.estimates.skill"),
        (("metrics", 0, "estimates"), {}, "metrics.0.estimates"),
        (("metrics", 0, "environment"), "Hopper-v4", "metrics.0.environment"),
        (("metrics", 0, "span_share"), {"value": 1.0, "low": None, "high": None}, "metrics.0.span_share"),
        (("metrics",), {"a": 1}, "metrics"),
        (("key", "method"), {}, "key.method"),
        (("key", "dataset", "former_digest"), "0" * 64, "key.dataset.former_digest"),
        (("key", "dataset", "digest_format"), 2, "key.dataset.digest_format"),
        (("key", "dataset", "extra"), 1, "key.dataset.extra"),
        (("format",), True, "format"),
        (("format",), 1.0, "format"),
    ],
)
def test_when_a_record_of_format_1_holds_what_it_may_not_then_it_is_refused(place, value, named, former):
    document = json.loads(former.read_text())
    target = document
    for part in place[:-1]:
        target = target[part]
    target[place[-1]] = value
    former.write_text(json.dumps(document))
    with pytest.raises(ProtocolError, match=f"field {named}"):
        read_record(former)


def test_when_a_record_of_format_1_holds_results_or_a_key_of_format_2_then_it_is_refused(former):
    """Not even where nothing else is of format 2, so that no digest is forged by way of upgrading."""
    document, current = json.loads(former.read_text()), read_record(former).model_dump(mode="json")
    for changed, named in (
        (document | {"metrics": current["results"]}, "metrics.0"),
        (document | {"key": current["key"]}, "key"),
    ):
        former.write_text(json.dumps(changed))
        with pytest.raises(ProtocolError, match=f"field {named}"):
            read_record(former)


def test_when_a_required_metric_is_missing_then_it_is_named_and_a_later_one_is_not_asked_for(tmp_path):
    for metric in of_protocol(PROTOCOLS[1]):
        document = json.loads(record().model_dump_json())
        del document["results"][1]["estimates"][metric.name]
        (tmp_path / "record.json").write_text(json.dumps(document))
        if metric.required:
            with pytest.raises(ProtocolError, match=rf"field results\.1\.estimates\.{metric.name} is missing"):
                read_record(tmp_path / "record.json")
        else:
            assert read_record(tmp_path / "record.json").results[1][metric.name].value is None


def test_a_record_of_the_other_track_is_named(tmp_path):
    record().write(tmp_path)
    with pytest.raises(ProtocolError, match="a record of the forecast track, where one of the training"):
        read_training_record(tmp_path)
    training_run(tmp_path / "training", 1.0)
    for read in (read_record, lambda path: tipl_bench.compare([path.parent, path.parent])):
        with pytest.raises(ProtocolError, match="a record of the training track, where one of the forecast track is"):
            read(tmp_path / "training" / "record.json")
    for check in (tipl_bench.verify, tipl_bench.reproduce):
        with pytest.raises(ProtocolError, match=r"a run of the training track, .* `tipl-bench verify` and"):
            check(tmp_path / "training")


def test_what_is_no_file_of_moderate_size_is_no_training_record(tmp_path):
    os.mkfifo(tmp_path / "record.json")
    assert not is_training_record(tmp_path)
    with pytest.raises(ProtocolError, match="not a plain file"):
        tipl_bench.verify(tmp_path)
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "record.json").write_text('{"track": "training"}' + " " * RECORD_LIMIT)
    assert not is_training_record(tmp_path / "large")


def test_a_record_of_a_failed_run_has_no_results_and_joins_no_board(tmp_path):
    fields = dict(record()) | {"status": Status(state="failed", stage="fit", reason="tipl: out of memory")}
    with pytest.raises(ValueError, match="a failed run has no results"):
        Record(**fields)
    failed = Record(**fields | {"results": (), "returns": (), "artifacts": {}})
    with pytest.raises(ProtocolError, match="failed at fit"):
        add(failed, tmp_path)
    for state, stage in (("failed", None), ("finished", "fit")):
        with pytest.raises(ValueError, match="a failed run has a stage and a reason"):
            Status(state=state, stage=stage)


def test_identities_are_equal_if_they_name_the_same_bytes_in_whichever_digest_format(tmp_path):
    known = {"name": "toy/ppo-v1", "environment": "Toy-v4"}
    first = DatasetIdentity(**known, digest="a" * 64, digest_format=1)
    second = DatasetIdentity(**known, digest="b" * 64, digest_format=2, former_digest="a" * 64)
    other = DatasetIdentity(**known, digest="b" * 64, digest_format=2)
    assert first == second != other
    assert len({first, second, other}) == 2
    forged = second.model_copy(update={"digest": "c" * 64})
    assert forged != second
    with pytest.raises(ValueError, match="former_digest is the format-1 digest"):
        DatasetIdentity(**known, digest="b" * 64, digest_format=1, former_digest="a" * 64)

    def run_of(identity):
        made = record()
        return made.model_copy(update={"key": made.key.model_copy(update={"dataset": identity})})

    assert fingerprint(run_of(first)) == fingerprint(run_of(second)) != fingerprint(run_of(other))
    assert file_name(run_of(first)) == file_name(run_of(second)) != file_name(run_of(other))
    named = f"dataset.format_2_digest: {'b' * 64} here, {'c' * 64} there"
    assert run_of(second).key.differences(run_of(forged).key) == [named]
    add(run_of(second), tmp_path)
    assert add(run_of(first), tmp_path).exists()
    with pytest.raises(ProtocolError, match=r"dataset\.format_2_digest"):
        add(run_of(forged), tmp_path)
