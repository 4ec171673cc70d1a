"""The board's rows as the Hub's evaluation results, read back by the Hub's own client."""

from __future__ import annotations

import json

import pytest
import yaml
from click.testing import CliRunner
from helpers.board_records import record, write
from huggingface_hub import parse_eval_result_entries
from tipl_bench.cli import main
from tipl_bench.leaderboard.document.build import document
from tipl_bench.leaderboard.render.export import export
from tipl_bench.leaderboard.store.evidence import append, maintainer_note
from tipl_bench.utils.errors import ProtocolError

COMMIT = "c" * 40


def publish(store, **changes):
    """Put the toy dataset into the catalog as a published one."""
    store.mkdir(exist_ok=True)
    entry = {"environment": "InvertedPendulum-v4", "summary": "A toy", "digest": "a" * 64}
    entry |= {"repo": "alice/toy", "commit": COMMIT} | changes
    lines = [f"{name} = {json.dumps(value)}" for name, value in entry.items()]
    (store / "catalog.toml").write_text("\n".join(['["toy/ppo-v1"]', *lines]))


def exported(folder, tmp_path):
    result = CliRunner().invoke(
        main, ["leaderboard", "export", "--records", str(folder), "--out", str(tmp_path / "out")]
    )
    assert result.exit_code == 0, result.output
    found = {}
    for path in (tmp_path / "out").rglob("*.yaml"):
        entries = parse_eval_result_entries(yaml.safe_load(path.read_text()))
        found[str(path.relative_to(tmp_path / "out"))] = entries
    return found


def test_rows_of_a_published_board_are_exported_with_the_documents_numbers(store, tmp_path):
    publish(store)
    folder = write(tmp_path / "records", record("mlp", 0.8), record("tipl", 0.5), record("tipl", 0.5, seed=1))
    found = exported(folder, tmp_path)
    assert set(found) == {f"{name}-quick/.eval_results/toy-ppo-v1.yaml" for name in ("mlp", "tipl")}
    skills = {row.method: row.phases["learning"]["skill"].mean.value for row in document(folder).rows}
    for name, value in skills.items():
        (entry,) = found[f"{name}-quick/.eval_results/toy-ppo-v1.yaml"]
        assert (entry.dataset_id, entry.dataset_revision) == ("alice/toy", COMMIT)
        assert (entry.task_id, entry.value) == ("learning-skill-p1", value)
    assert "seeds [0, 1]" in found["tipl-quick/.eval_results/toy-ppo-v1.yaml"][0].notes


def test_variants_of_a_predictor_share_a_file_and_are_told_apart_by_their_notes(store, tmp_path):
    publish(store)
    found = exported(write(tmp_path / "records", record("tipl", 0.5), record("tipl", 0.6, width=64)), tmp_path)
    (entries,) = found.values()
    assert sorted("width=64" in entry.notes for entry in entries) == [False, True]


def test_nothing_is_exported_that_is_unpublished_yanked_or_disputed(store, tmp_path):
    folder = write(tmp_path / "records", record("mlp", 0.8), record("tipl", 0.5))
    assert exported(folder, tmp_path / "local") == {}
    publish(store, yanked="wrong seeds")
    assert exported(folder, tmp_path / "yanked") == {}
    publish(store)
    append(folder / "0.json", record("mlp", 0.8), maintainer_note("disputed", record("mlp", 0.8), "cannot be"))
    assert list(exported(folder, tmp_path / "disputed")) == ["tipl-quick/.eval_results/toy-ppo-v1.yaml"]


@pytest.mark.parametrize("other", ["TIPL", "Tipl"])
def test_when_two_methods_have_one_folder_on_some_disks_then_both_are_named(other, store, tmp_path):
    publish(store)
    folder = write(tmp_path / "records", record("tipl", 0.5), record(other, 0.8))
    with pytest.raises(ProtocolError, match=rf"(tipl|{other}) quick and (tipl|{other}) quick have one folder"):
        export(document(folder), tmp_path / "out")
