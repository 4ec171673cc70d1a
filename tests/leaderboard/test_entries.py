"""Entries: seeds together, everything else apart; what cannot be compared is named."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from helpers import synthetic
from helpers.board_records import RESULTS, record
from tipl_bench.benchmark.protocol import protocol
from tipl_bench.benchmark.record import DatasetIdentity
from tipl_bench.benchmark.request import RunRequest, default_folder
from tipl_bench.benchmark.run import execute
from tipl_bench.cli import main
from tipl_bench.leaderboard.document import entries as module
from tipl_bench.leaderboard.document.entries import boards
from tipl_bench.leaderboard.store.evidence import RowStatus, fingerprint
from tipl_bench.leaderboard.store.records import file_name, load
from tipl_bench.leaderboard.submission.review_flags import find_dataset_flags
from tipl_bench.utils.errors import ProtocolError


def group(*records):
    return boards({Path(f"{number}.json"): one for number, one in enumerate(records)})


def single(*records):
    ((entry,),) = group(*records).values()
    return entry


def test_seeds_of_one_configuration_are_one_entry_in_their_order():
    entry = single(*(record(seed=seed) for seed in (2, 0, 1)))
    assert [one.key.seed for one in entry.records.values()] == [0, 1, 2]
    assert [path.name for path in entry.records] == ["1.json", "2.json", "0.json"]


def test_other_options_versions_devices_and_datasets_are_other_entries_with_other_ids():
    records = [record(), record(width=3), record(version=2), record(device="cuda"), record(dataset="toy/ppo-v2")]
    found = group(*records, record(digest="c" * 64))
    assert sorted(len(board) for board in found.values()) == [1, 1, 4]
    names = [entry.id for board in found.values() for entry in board]
    assert len(set(names)) == 6
    assert all(re.fullmatch("[a-z0-9-]+", name) for name in names)


def test_the_id_of_an_entry_is_a_slug_and_tells_options_apart():
    assert re.fullmatch("[a-z0-9-]+", single(record("My.Own_name", note="../<b>|x")).id)
    assert single(record(note="<b>")).id != single(record(note="<i>")).id


@pytest.mark.parametrize("seed", [3, 99])
def test_when_a_seed_is_no_rows_then_its_file_is_named(seed):
    with pytest.raises(ProtocolError, match=rf"0.json: seed {seed} is no seed of a row, which has 0, 1, 2; remove it"):
        single(record(seed=seed))


def test_when_a_configuration_and_seed_is_there_twice_then_both_files_are_named():
    with pytest.raises(ProtocolError, match=r"1\.json.*0\.json"):
        group(record(ratio=0.4), record(ratio=0.5))


@pytest.mark.parametrize("other", [{"trials": 11}, {"phase": "converged"}])
def test_when_records_of_a_board_have_other_trials_or_phases_then_the_file_is_named(other):
    with pytest.raises(ProtocolError, match=r"1\.json.*0\.json"):
        group(record("tipl"), record("mlp", **other))


def test_when_records_of_a_board_are_of_another_protocol_under_its_number_then_the_file_is_named():
    one, other = record("tipl"), record("mlp")
    protocol = other.key.protocol.model_copy(update={"resamples": 7})
    with pytest.raises(ProtocolError, match=r"1\.json.*protocol"):
        group(one, other.model_copy(update={"key": other.key.model_copy(update={"protocol": protocol})}))


@pytest.mark.parametrize("other", [{"digest": "a" * 12 + "b" * 52}, {"environment": "Another-v4"}])
def test_when_a_record_only_looks_like_one_of_the_board_then_the_file_is_named(other):
    with pytest.raises(ProtocolError, match=r"1\.json.*0\.json"):
        group(record("tipl"), record("mlp", **other))


@pytest.mark.parametrize("change", [{"wpe": (1.0,)}, {"repw": ()}])
def test_when_sums_by_trial_are_not_of_all_trials_then_the_file_is_named(change):
    one = record()
    wrong = one.results[0].model_copy(update={"by_trial": one.results[0].by_trial | change})
    with pytest.raises(ProtocolError, match=r"0\.json.*12 trials"):
        group(one.model_copy(update={"results": (wrong, *one.results[1:])}))


def test_when_a_horizon_is_missing_or_repeated_then_the_file_is_named():
    one = record()
    for results in (one.results[1:], (one.results[1], *one.results[1:]), ()):
        with pytest.raises(ProtocolError, match=r"0\.json.*horizons 1 to 3"):
            group(one.model_copy(update={"results": results}))


def test_the_state_is_the_lowest_of_the_seeds_and_a_dispute_of_any_counts(monkeypatch):
    states = {0: RowStatus("reproduced", None, ()), 1: RowStatus("rescored", "skill is 0.1 lower", ())}
    monkeypatch.setattr(module, "row_status", lambda path, one: states[one.key.seed])
    entry = single(record(seed=0), record(seed=1))
    assert entry.state == "rescored"
    assert entry.disputed == "seed 1: skill is 0.1 lower"


def parse(command):
    words = shlex.split(command)
    assert words[:2] == ["tipl-bench", "run"]
    found = main.get_command(click.Context(main), "run")
    return found.make_context("run", words[2:], **main.context_settings).params


def test_the_run_command_names_what_differs_from_the_budget_and_verify_its_folder(smooth):
    options = {"points": 5, "damping": 0.25}
    entry = single(record("linear", seed=2, dataset=smooth.name, **options))
    (command,) = entry.commands().run
    parameters = parse(command)
    assert (parameters["model"], parameters["dataset_name"], parameters["seed"]) == ("linear", smooth.name, 2)
    request = RunRequest("linear", smooth, "quick", parameters["settings"], 2, protocol=protocol(parameters["version"]))
    with request.start() as predictor:
        assert predictor.options == options
    (verify,) = entry.commands().verify
    assert shlex.split(verify) == ["tipl-bench", "verify", default_folder(request).as_posix()]


def test_a_row_fitted_on_more_trials_is_one_of_its_own_and_its_command_names_them():
    more = DatasetIdentity(name="toy/more-v1", digest="c" * 64, environment="InvertedPendulum-v4")
    records = [record(), record(consumes="more-trials", fitted_on=more)]
    plain, own = sorted(group(*records).popitem()[1], key=lambda entry: entry.variant)
    assert plain.id != own.id
    assert len({file_name(one) for one in records}) == len({fingerprint(one) for one in records}) == 2
    assert (plain.variant, own.variant) == ("", "fitted on toy/more-v1")
    (command,), (verify,) = own.commands().run, own.commands().verify
    assert parse(command)["fit_on"] == more.name
    assert verify.endswith("/tipl-quick-on-toy--more-v1-seed0")
    assert [*find_dataset_flags(records[1])] == [
        "toy/ppo-v1 is not in the catalog; nobody else can score a run on it",
        "toy/more-v1 is not in the catalog; nobody else can fit on it",
    ]


def test_the_reproduce_command_of_a_committed_row_names_its_record_in_a_clone_once_a_seed():
    root = RESULTS.parents[1]
    entries = [entry for board in boards(load(RESULTS)).values() for entry in board]
    for entry in entries:
        named = [shlex.split(command)[2] for command in entry.commands().reproduce]
        assert [(root / name) for name in named] == list(entry.records)
        assert len(set(entry.commands().run)) == len(named)


def test_the_reproduce_command_runs_as_it_is_pasted(smooth, known, monkeypatch, tmp_path):
    request = RunRequest("persistence", smooth, "quick", (), 0, "cpu", synthetic.SMALL)
    made = execute(request, tmp_path / "run").record
    path = tmp_path / "workspace" / "records" / "one.json"
    path.parent.mkdir(parents=True)
    path.write_text(made.model_dump_json())
    ((entry,),) = boards({path: made}).values()
    (command,) = entry.commands().reproduce
    monkeypatch.chdir(path.parents[1])
    result = CliRunner().invoke(main, [*shlex.split(command)[1:], "--dataset", str(smooth.folder)])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("bitwise")


def test_when_the_predictor_is_not_installed_then_all_options_are_named():
    assert single(record("theirs", width=3, name_of="a b")).settings == ("width=3", "name_of=a b")


def test_when_names_hold_shell_syntax_then_the_commands_are_still_single_words():
    evil = "x; rm -rf $HOME `id` '"
    entry = single(record("theirs", option=evil))
    (command,) = entry.commands().run
    parameters = parse(command)
    assert parameters["settings"] == (f"option={evil}",)
    lengths = {
        name: [len(shlex.split(one)) for one in getattr(entry.commands(), name)] for name in ("verify", "reproduce")
    }
    assert lengths == {"verify": [3], "reproduce": [5]}
