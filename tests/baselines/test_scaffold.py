"""`models new`: the package that it writes installs, passes its own tests and runs."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.synthetic import skills
from tipl_bench.baselines import method_code
from tipl_bench.baselines.predictor import FitTask
from tipl_bench.benchmark.worker.predictor_process import PredictorProcess
from tipl_bench.cli import main


def new(name: str, *options: str) -> str:
    result = CliRunner().invoke(main, ["models", "new", name, *options])
    assert result.exit_code == 0, result.output
    return result.output


def install(package: Path, site: Path) -> None:
    """Install a package as pip does, into a folder of its own; it needs nothing that is not here."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target"]
    subprocess.run([*command, str(site), str(package)], check=True)


def test_a_new_package_installs_and_passes_its_own_tests_and_learns(tmp_path, monkeypatch, smooth):
    printed = new("my-forecaster")
    package = Path("my-forecaster").absolute()
    assert "pip install -e 'my-forecaster[test]'" in printed
    assert {str(path.relative_to(package)) for path in package.rglob("*") if path.is_file()} == {
        "pyproject.toml",
        "README.md",
        "my_forecaster.py",
        "tests/test_my_forecaster.py",
    }
    site = tmp_path / "site"
    install(package, site)
    monkeypatch.syspath_prepend(str(site))
    paths = os.pathsep.join([str(site), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(package)],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    split = smooth.manifest.split
    data = [trial.path for trial in smooth.trials(split.fitted)]
    with PredictorProcess("my-forecaster", data=data) as predictor:
        predictor.fit(FitTask(smooth.trials(split.train), smooth.trials(split.validation), 3, 20))
        assert (skills(predictor, smooth, split.test[0], [25, 40, 55], 3) > 0).all()


def test_the_predictor_is_about_forty_lines(tmp_path):
    new("short-one")
    lines = Path("short-one/short_one.py").read_text().splitlines()
    assert len([line for line in lines if line.strip() and not line.strip().startswith('"""')]) < 45


@pytest.mark.parametrize(
    "name",
    ["Mine", "my forecaster", "../mine", "1st", "class", "none", "tipl-published", "linear", "a--b", "", "x" * 51],
)
def test_a_name_that_cannot_be_one_is_refused_and_nothing_is_written(name):
    before = sorted(Path().rglob("*"))
    result = CliRunner().invoke(main, ["models", "new", name])
    assert result.exit_code == 2
    assert "name" in result.output
    assert sorted(Path().rglob("*")) == before


def test_the_addresses_and_the_information_class_that_are_given_are_written(tmp_path, monkeypatch):
    new("traced-one", "--url", "https://a.org/code", "--paper", "https://a.org/paper", "--consumes", "statistics")
    project = tomllib.loads(Path("traced-one/pyproject.toml").read_text())["project"]
    assert project["urls"] == {"Source": "https://a.org/code", "Paper": "https://a.org/paper"}
    assert 'consumes = "statistics"' in Path("traced-one/traced_one.py").read_text()
    new("plain-one")
    assert tomllib.loads(Path("plain-one/pyproject.toml").read_text())["project"]["urls"] == {}
    install(Path("traced-one").absolute(), tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    code = method_code("traced-one")
    assert (code.distribution, code.url, code.paper) == ("traced-one", "https://a.org/code", "https://a.org/paper")


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--url", "a.org", "--url: 'a.org' is not a web address"),
        ("--paper", 'https://a.org/"\nx = 1', "is not a web address"),
        ("--consumes", "weight", "Unknown information class 'weight'. Did you mean 'weights'?"),
    ],
)
def test_an_address_or_class_that_is_none_is_refused_and_nothing_is_written(option, value, message):
    result = CliRunner().invoke(main, ["models", "new", "mine", option, value])
    assert result.exit_code == 2
    assert message in result.output
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("name", ["json", "numpy", "tipl-bench"])
def test_a_name_that_would_hide_an_installed_module_is_refused(name):
    result = CliRunner().invoke(main, ["models", "new", name])
    assert result.exit_code == 2
    assert "is installed already" in result.output
    assert list(Path().iterdir()) == []


def test_a_folder_with_content_is_never_written_into():
    Path("my-notes").mkdir()
    Path("my-notes/notes.txt").write_text("keep me")
    result = CliRunner().invoke(main, ["models", "new", "my-notes"])
    assert result.exit_code == 1
    assert "--out" in result.output
    assert [path.name for path in Path("my-notes").iterdir()] == ["notes.txt"]
    new("my-notes", "--out", "elsewhere")
    assert Path("elsewhere/my_notes.py").exists()
