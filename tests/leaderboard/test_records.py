"""The records a board is built from: valid, never changed silently."""

from __future__ import annotations

from pathlib import Path
from typing import get_args, get_origin

import pytest
from helpers.board_records import RESULTS, record
from pydantic import BaseModel, create_model
from pydantic.dataclasses import dataclass
from tipl_bench.benchmark.intervals import Estimate
from tipl_bench.benchmark.record import Record, read_record
from tipl_bench.leaderboard.document.entries import configuration
from tipl_bench.leaderboard.store import records
from tipl_bench.leaderboard.store.evidence import fingerprint, read
from tipl_bench.leaderboard.store.records import add, file_name, load
from tipl_bench.utils.errors import ProtocolError


def test_when_a_result_differs_then_add_refuses_and_keeps_the_old_one(tmp_path):
    path = add(record(ratio=0.5), tmp_path)
    before = path.read_bytes()
    with pytest.raises(ProtocolError, match="never changed silently"):
        add(record(ratio=0.4), tmp_path)
    other = record(ratio=0.4).model_copy(update={"artifacts": {"forecasts": "0" * 64}})
    with pytest.raises(ProtocolError, match="never changed silently"):
        add(other, tmp_path, rescored=True)
    assert path.read_bytes() == before
    assert add(record(ratio=0.5), tmp_path) == path
    assert path.read_bytes() == before


def within(one, field, **changes):
    return one.model_copy(update={field: getattr(one, field).model_copy(update=changes)})


@pytest.mark.parametrize("rescored", [False, True])
@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda one: within(one, "cost", fit_seconds=9.0), r"cost.fit_seconds \(1.0 there, 9.0 here\)"),
        (lambda one: within(one, "provenance", cpu="x\u0301"), r"provenance.cpu \(c there, x\\u0301 here\)"),
        (lambda one: within(one, "provenance", packages={}), r"provenance.packages.numpy \(2 there, None here\)"),
        (lambda one: one.model_copy(update={"parameter_count": 1}), r"parameter_count \(7 there, 1 here\)"),
    ],
    ids=["cost", "cpu", "packages", "parameters"],
)
def test_when_anything_differs_that_rescoring_does_not_recompute_then_add_names_it(change, named, rescored, tmp_path):
    path = add(record(), tmp_path)
    before = path.read_bytes()
    with pytest.raises(ProtocolError, match=named):
        add(change(record(ratio=0.4)), tmp_path, rescored=rescored)
    assert path.read_bytes() == before


def test_when_the_forecasts_are_the_same_then_rescored_numbers_take_the_place_of_claimed_ones(tmp_path):
    path = add(record(ratio=0.5), tmp_path)
    assert add(record(ratio=0.4), tmp_path, rescored=True) == path
    assert read_record(path).without_cost() == record(ratio=0.4).without_cost()


def test_committed_records_and_their_evidence_keep_the_names_that_they_were_committed_under():
    """Names and fingerprints that earlier versions wrote are the oracle: a change of either silences evidence."""
    found = load(RESULTS)
    assert len(found) >= 65
    assert [path.name for path in found] == [file_name(one) for one in found.values()]
    pieces = [(fingerprint(one), piece) for path, one in found.items() for piece in read(path, one)]
    assert sum(piece.record == own for own, piece in pieces) >= 52


@dataclass(frozen=True)
class WideEstimate(Estimate):
    """An estimate with a field more."""

    later: int = 7


def widened(kind):
    """A model with a field more, and one more in every model that it holds."""
    if get_origin(kind) in (tuple, dict):
        inner = [widened(part) if isinstance(part, type) else part for part in get_args(kind)]
        return get_origin(kind)[tuple(inner)]
    if kind is Estimate:
        return WideEstimate
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return kind
    fields = {name: (widened(field.annotation), field) for name, field in kind.model_fields.items()}
    return create_model(f"Wide{kind.__name__}", __base__=kind, **fields, later=(int, 7))


def test_when_a_later_version_adds_fields_then_names_and_fingerprints_stay():
    one = record()
    wide = widened(Record).model_validate(one.model_dump())
    dumped = wide.model_dump()
    for place in (
        dumped, dumped["key"], dumped["key"]["method"], dumped["key"]["protocol"], dumped["status"],
        dumped["provenance"], dumped["results"][0], dumped["results"][0]["estimates"]["skill"],
    ):  # fmt: skip
        assert place["later"] == 7
    assert fingerprint(wide) == fingerprint(one)
    assert file_name(wide) == file_name(one)
    assert configuration(wide) == configuration(one)


def test_rows_of_other_devices_are_other_files(tmp_path):
    assert add(record(), tmp_path) != add(record(device="cuda"), tmp_path)


def test_when_there_are_no_records_then_loading_says_how_to_add_some(tmp_path):
    with pytest.raises(ProtocolError, match="leaderboard add"):
        load(tmp_path)


def test_the_packages_own_records_are_valid_and_cover_five_predictors_and_three_seeds():
    stored = load(RESULTS).values()
    found = {(r.key.method.name, r.key.seed) for r in stored if r.key.dataset.name.endswith("ppo-head-v1")}
    names = ("persistence", "linear", "autoregression", "mlp", "tipl")
    assert found >= {(name, seed) for name in names for seed in (0, 1, 2)}


def test_when_neither_the_package_nor_the_working_folder_is_a_clone_then_the_error_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(records, "__file__", str(tmp_path / "tipl_bench" / "leaderboard" / "store" / "records.py"))
    results = Path("leaderboard") / "results"
    (tmp_path / "tipl_bench" / results).mkdir(parents=True)  # as a wheel holds none, unless somebody put it there
    with pytest.raises(ProtocolError, match=r"no leaderboard/results here: run this in a clone .*`records=`"):
        load()
    (tmp_path / "clone" / results).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "clone")
    with pytest.raises(ProtocolError, match="run this in a clone"):
        records.committed_folder()
    (tmp_path / "clone" / "pyproject.toml").touch()
    assert records.committed_folder() == tmp_path / "clone" / results


@pytest.mark.parametrize("command", ["add", "add --claimed", "build", "export"])
def test_when_there_is_no_clone_then_no_command_writes_anywhere(command, monkeypatch, tmp_path, workspace):
    package = tmp_path / "site-packages" / "tipl_bench"
    (package / "leaderboard" / "results").mkdir(parents=True)
    monkeypatch.setattr(records, "__file__", str(package / "leaderboard" / "store" / "records.py"))
    monkeypatch.chdir(package)
    workspace.as_guest()
    run = [workspace.run] if command.startswith("add") else []
    out = ["--out", package / "out"] if command == "export" else []
    result = workspace.typed("leaderboard", *command.split(), *run, *out)
    assert result.exit_code == 1
    assert "run this in a clone of the project, or name a folder of records (--records)" in result.output
    assert not [path for path in package.rglob("*") if path.is_file()]
