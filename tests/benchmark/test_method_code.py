"""The code of a plug-in in the record: its package, commit, addresses and file hashes, read without importing it."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
from helpers import synthetic
from pydantic import ValidationError
from tipl_bench import run
from tipl_bench.baselines import method_code
from tipl_bench.baselines.plugins.sources import MethodCode
from tipl_bench.benchmark.record import read_record

PREDICTOR = """
import numpy as np
from tipl_bench import NoOptions, Predictor

class Traced(Predictor[NoOptions]):
    name, version, summary = "traced", 1, "Persistence."

    def predict(self, contexts, horizon):
        return np.repeat(contexts.weights[:, -1:], horizon, axis=1)
"""
METADATA = """Metadata-Version: 2.1
Name: Traced
Version: 2.5
Author-email: Ada Lovelace <ada@example.org>, grace@example.org
Project-URL: Home Page, https://example.org/home
Project-URL: Source, https://user:secret@example.org/source
Project-URL: Paper, https://arxiv.org/abs/2503.04074
"""
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def traced(tmp_path, monkeypatch):
    """An installed package with one predictor in two files; returns a function that writes its metadata."""
    site = tmp_path / "site"
    (site / "traced_package").mkdir(parents=True)
    (site / "traced_package" / "__init__.py").write_text("")
    (site / "traced_package" / "forecasts.py").write_text(PREDICTOR)
    monkeypatch.syspath_prepend(str(site))

    def write(metadata: str = METADATA, target: str = "traced_package.forecasts:Traced", **files: str) -> Path:
        information = site / "traced-2.5.dist-info"
        information.mkdir(exist_ok=True)
        (information / "METADATA").write_text(metadata)
        (information / "entry_points.txt").write_text(f"[tipl_bench.predictors]\ntraced = {target}\n")
        for name, text in files.items():
            (information / name.replace("_json", ".json")).write_text(text)
        return site

    return write


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_when_a_plug_in_is_run_then_its_record_says_where_its_code_is(traced, smooth, tmp_path):
    vcs = {"url": "https://example.org/repo.git", "vcs_info": {"vcs": "git", "commit_id": COMMIT}}
    site = traced(direct_url_json=json.dumps(vcs))
    run("traced", smooth, device="cpu", out=tmp_path / "run", protocol=synthetic.SMALL)
    code = read_record(tmp_path / "run" / "record.json").provenance.code
    assert code == MethodCode(
        distribution="Traced",
        version="2.5",
        authors="Ada Lovelace, grace@example.org",
        url="https://example.org/source",
        paper="https://arxiv.org/abs/2503.04074",
        repository="https://example.org/repo.git",
        commit=COMMIT,
        files={
            f"traced_package/{name}": hashlib.sha256((site / "traced_package" / name).read_bytes()).hexdigest()
            for name in ("__init__.py", "forecasts.py")
        },
    )


def test_when_a_predictor_is_this_packages_own_then_no_code_is_recorded(smooth, tmp_path):
    made = run("linear", smooth, device="cpu", out=tmp_path / "run", protocol=synthetic.SMALL)
    assert made.record.provenance.code is None


def test_when_the_sources_are_a_working_tree_then_its_commit_and_changes_are_recorded(traced):
    site = traced()
    assert (method_code("traced").commit, method_code("traced").dirty) == (None, None)
    git(site, "init", "-q")
    assert method_code("traced").commit is None, "an enclosing repository that does not track the sources"
    git(site, "add", "traced_package")
    git(site, "commit", "-q", "-m", "Add")
    assert (method_code("traced").commit, method_code("traced").dirty) == (git(site, "rev-parse", "HEAD"), False)
    (site / "traced_package" / "helper.py").write_text("")
    assert method_code("traced").dirty, "an untracked source"


def test_when_a_package_is_recorded_then_it_is_not_imported(traced):
    site = traced()
    (site / "traced_package" / "__init__.py").write_text("raise SystemExit('imported')")
    assert set(method_code("traced").files) == {"traced_package/__init__.py", "traced_package/forecasts.py"}


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ("Project-URL: Source, javascript:alert(1)\n", {"url": None}),
        ("Project-URL: Paper, https://a.org/](x)<b>\n", {"paper": None}),
        (f"Project-URL: Paper, https://a.org/{'x' * 400}\n", {"paper": None}),
        (f"Author: {'x' * 9000}\n", {"authors": "x" * 199 + "x"}),
        ("Author: a\x1b[31m\u202e\n", {"authors": r"a\u001b[31m\u202e"}),
        ("Home-page: https://a.org\n", {"url": "https://a.org"}),
    ],
    ids=["scheme", "markup", "long address", "long author", "escapes", "home page"],
)
def test_when_metadata_are_hostile_then_what_is_recorded_is_bounded_and_plain(metadata, expected, traced):
    traced(f"Metadata-Version: 2.1\nName: traced\nVersion: 2.5\n{metadata}", direct_url_json='{"vcs_info": [')
    code = method_code("traced")
    assert {name: getattr(code, name) for name in expected} == expected


def test_when_a_package_has_many_files_then_those_left_out_are_counted(traced):
    folder = traced() / "traced_package"
    for number in range(300):
        (folder / f"part{number:03d}.py").write_text("")
    (folder / "__init__.py").write_bytes(b"#" * (5 << 20))
    code = method_code("traced")
    assert len(code.files) == 199
    assert code.omitted_files == 302 - 199


def test_when_a_records_code_holds_no_web_address_then_it_is_refused():
    with pytest.raises(ValidationError, match="url"):
        MethodCode(distribution="a", version="1", files={}, url="javascript:alert(1)")
