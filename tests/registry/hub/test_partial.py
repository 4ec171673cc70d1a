"""A dataset of which only some trials were downloaded, and the sizes that commands state."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner
from helpers.hub_commands import PLACE, TRIAL, catalogue
from helpers.small_collections import TINY
from tipl_bench.cli import main
from tipl_bench.registry.files import REQUESTED_NAME
from tipl_bench.registry.loading import load_dataset
from tipl_bench.registry.store import dataset_folder


def typed(*arguments: object):
    return CliRunner().invoke(main, ["datasets", *map(str, arguments)], env={"COLUMNS": "1000"})


def printed(*arguments: object) -> str:
    result = typed(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("to", [None, "there"])
def test_when_some_trials_were_downloaded_then_those_are_verified(hub, dataset, place, to):
    where = to or PLACE
    printed("download", PLACE, "--trials", "1:3", *(["--to", to] if to else []))
    shown = printed("verify", where)
    assert f"{TINY}: 2 of 5 trials are here (1-2); " in shown
    assert f"all intact; digest {dataset.digest}" in shown
    printed("download", PLACE, "--trials", "4", *(["--to", to] if to else []))
    assert "3 of 5 trials are here (1-2, 4); " in printed("verify", where)


def test_when_a_downloaded_trial_is_lost_or_damaged_then_verify_says_so(hub, dataset, place):
    catalogue(dataset, place)
    printed("download", TINY, "--trials", "1:3")
    path = dataset_folder(TINY) / TRIAL
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    result = typed("verify", TINY)
    assert result.exit_code == 1
    assert "trial-0002" in result.stderr
    path.unlink()
    result = typed("verify", TINY)
    assert result.exit_code == 1
    assert re.search(r"trial-0002\.safetensors: listed in the manifest but missing", result.stderr)


def test_when_the_rest_is_downloaded_then_all_of_it_is_verified(hub, dataset, place):
    catalogue(dataset, place)
    printed("download", TINY, "--trials", "0:2")
    load_dataset(TINY)
    assert not (dataset_folder(TINY) / REQUESTED_NAME).exists()
    printed("download", TINY, "--trials", "0:2")
    assert "trials are here" not in printed("verify", TINY)
    (dataset_folder(TINY) / TRIAL).unlink()
    assert typed("verify", TINY).exit_code == 1


def test_when_some_trials_were_downloaded_then_list_and_show_say_so(hub, dataset, place):
    catalogue(dataset, place)
    printed("download", TINY, "--trials", "0:2")
    (row,) = [row for row in json.loads(printed("list", "--json")) if row["name"] == TINY]
    assert row["where"] == "local, 2 of 5 trials"
    hub.close()
    assert "0-1 of the trials are here" in printed("show", TINY)


def test_list_show_verify_and_download_state_the_same_size(hub, dataset, place):
    catalogue(dataset, place)
    size = sum(entry.size for entry in dataset.contents())
    assert f"5 trials, {size:,} bytes" in printed("download", TINY)
    assert f"5 files, {size:,} bytes, all intact" in printed("verify", TINY)
    assert f"{size:,} bytes ({size / 1e6:,.1f} MB) in 5 files" in printed("show", TINY)
    assert f"{size:,} bytes ({size / 1e6:,.1f} MB) in 5 files" in printed("show", PLACE)
    (row,) = [row for row in json.loads(printed("list", "--json")) if row["name"] == TINY]
    assert row["bytes"] == size


def test_the_bundled_datasets_size_is_the_same_all_over():
    name = "inverted-pendulum/ppo-head-v1"
    size, files = re.search(r"([\d,]+) bytes \([\d.]+ MB\) in (\d+) files", printed("show", name)).groups()
    assert f"{files} files, {size} bytes" in printed("verify", name)
    (row,) = [row for row in json.loads(printed("list", "--json")) if row["name"] == name]
    assert f"{row['bytes']:,}" == size


def test_list_explains_its_columns():
    assert "T: checkpoints a trial. P: parameters of a policy. MB: 10^6 bytes of all its files." in printed("list")
