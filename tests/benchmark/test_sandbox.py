"""What a predictor's process can read, reach and leave behind, tried from inside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tipl_bench
from conftest import install
from helpers import synthetic
from helpers.released import write_release
from tipl_bench.benchmark.request import RunRequest
from tipl_bench.benchmark.run import execute
from tipl_bench.benchmark.worker.predictor_process import PredictorProcess
from tipl_bench.benchmark.worker.sandbox import NO_ISOLATION
from tipl_bench.registry.catalog import BUNDLED
from tipl_bench.registry.dataset import Dataset
from tipl_bench.utils.errors import OptionError, ProtocolError

TRIAL = next(BUNDLED.rglob("trial-0035.safetensors"))


def request(model, dataset, **settings) -> RunRequest:
    return RunRequest(model, dataset, device="cpu", protocol=synthetic.SMALL, **settings)


def readable(paths, model="persistence", **settings) -> set[Path]:
    """Those of the paths that a predictor's process can open."""
    with PredictorProcess(model, **settings) as predictor:
        if predictor.isolation == NO_ISOLATION:
            pytest.skip("this kernel has no Landlock")
        return {path for path in paths if predictor.can_open(path)}


def test_copies_of_held_out_files_are_not_readable_wherever_they_lie(tmp_path, monkeypatch):
    package = Path(tipl_bench.__file__).resolve().parent
    (tmp_path / "linked").symlink_to(BUNDLED)
    (tmp_path / "copy.safetensors").write_bytes(TRIAL.read_bytes())
    os.link(tmp_path / "copy.safetensors", tmp_path / "hard-link.safetensors")
    (tmp_path / "clone/registry/bundled").mkdir(parents=True)
    (tmp_path / "clone/registry/bundled/trial.safetensors").write_bytes(b"")
    (tmp_path / "clone/registry/__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "clone"))  # as `python -m` in a clone does
    held_out = sorted((package / "leaderboard").rglob("*.py"))
    copies = ["copy.safetensors", "hard-link.safetensors", f"linked/{TRIAL.relative_to(BUNDLED)}"]
    copies.append("clone/registry/bundled/trial.safetensors")
    private = [path for path in (Path("/etc/shadow"), Path.home() / ".bashrc", TRIAL, *held_out) if path.exists()]
    assert readable([*private, *(tmp_path / copy for copy in copies)]) == set()


def test_a_run_may_read_training_trials_that_another_dataset_of_the_store_links(smooth, store, tmp_path):
    """As those of a dataset that extends another: the same file under a held-out name."""
    readable([])  # skips without isolation
    dataset = Dataset.open(shutil.copytree(smooth.folder, tmp_path / "extended"))
    other = store / "datasets" / "toy" / "base-v1"
    other.mkdir(parents=True)
    os.link(dataset.trial(0).path, other / "trial-0000.safetensors")
    assert execute(request("persistence", dataset), tmp_path / "run").record.provenance.isolation != NO_ISOLATION
    test_trial = dataset.trial(dataset.manifest.split.test[0]).path
    with request("persistence", dataset).start() as predictor:
        assert predictor.can_open(other / "trial-0000.safetensors")
        assert not predictor.can_open(test_trial)


def test_of_a_working_tree_of_this_package_only_the_code_is_readable(tmp_path):
    readable([])  # skips without isolation
    source, clone = Path(tipl_bench.__file__).resolve().parent, tmp_path / "clone"
    clone.mkdir()
    for file in (*source.glob("*.py"), *source.glob("*/**/*.py")):
        if file.relative_to(source).parts[0] not in ("tests", "docs", "build", "scripts"):
            (clone / file.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            (clone / file.relative_to(source)).write_bytes(file.read_bytes())
    others = ["pyproject.toml", ".git/HEAD", "README.md", "build/lib/a.py", "docs/a.md", "tests/test_a.py", "runs/a"]
    for name in others:
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).touch()
    (tmp_path / "path").mkdir()
    (tmp_path / "path/tipl_bench").symlink_to(clone)
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from tipl_bench.benchmark.worker.predictor_process import PredictorProcess\n"
        "with PredictorProcess('persistence') as predictor:\n"
        "    print(*(name for name in sys.argv[2:] if predictor.can_open(Path(sys.argv[1], name))))\n"
    )
    path = os.pathsep.join([str(tmp_path / "path"), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", code, clone, "utils/text.py", "leaderboard/__init__.py", *others],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
        check=False,
    )
    assert done.stdout.split() == ["utils/text.py"], done.stderr


@pytest.mark.parametrize("flat", [False, True], ids=["a package in a project", "a project that is a package"])
def test_of_an_editable_project_only_the_code_is_readable(flat, tmp_path, monkeypatch):
    project = tmp_path / "my-project"
    package = project if flat else project / "forecaster"
    code = ["__init__.py", "method.py", "layers/__init__.py", "layers/weights.json"]
    code = [str((package / name).relative_to(project)) for name in code]
    others = [".git/HEAD", "build/lib/a.py", "dist/a.whl", "docs/a.md", "runs/old/windows.parquet", "notes.txt"]
    for name in (*code, *others, "pyproject.toml"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).touch()
    (package / "method.py").write_text(
        "from helpers.third_party import ThirdParty\n\nclass Method(ThirdParty):\n    name = 'of-a-project'\n"
    )
    site = install(tmp_path / "site", "of-a-project", {"of-a-project": "forecaster.method:Method"}, monkeypatch)
    if flat:
        (site / "forecaster").symlink_to(project)
    else:
        monkeypatch.syspath_prepend(str(project))
    helpers = Path(synthetic.__file__).parent
    expected = {project / name for name in code}
    assert readable([project / name for name in (*code, *others)], "of-a-project", data=list(helpers.glob("*.py"))) == (
        expected
    )


def _require(site: Path, name: str, **files: str) -> None:
    """Let the package in a folder require another, which has the given metadata and no `top_level.txt`."""
    with next(site.glob("third_party*.dist-info/METADATA")).open("a") as metadata:
        metadata.write(f"Requires-Dist: {name}>=1\n")
    information = site / f"{name}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    for file, text in files.items():
        (information / file.replace("_json", ".json")).write_text(text)


@pytest.mark.parametrize("folder", ["", "src", "python"])
def test_an_editable_requirement_is_readable_whatever_built_it(folder, tmp_path, monkeypatch):
    project = tmp_path / "a library"
    code = [project / folder / "library" / name for name in ("__init__.py", "weights.json")]
    others = [project / name for name in ("pyproject.toml", "notes.txt", "runs/a.parquet")]
    for path in (*code, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    site = install(tmp_path / "site", "third-party", {"third-party": "helpers.third_party:ThirdParty"}, monkeypatch)
    origin = {"url": project.as_uri(), "dir_info": {"editable": True}}
    _require(site, "library", direct_url_json=json.dumps(origin), RECORD="library.pth,,\n")
    (site / "library.pth").write_text(f"{project / folder}\n")
    assert readable([*code, *others], "third-party") == set(code)


@pytest.mark.parametrize(
    "origin", ['{"dir_info": {', "[]", '{"dir_info": 1}', '{"url": "file:///\\u0000", "dir_info": {"editable": true}}']
)
def test_when_the_metadata_of_a_requirement_are_damaged_then_the_predictor_starts(origin, tmp_path, monkeypatch):
    site = install(tmp_path / "site", "third-party", {"third-party": "helpers.third_party:ThirdParty"}, monkeypatch)
    _require(site, "library", direct_url_json=origin, RECORD='"')
    with PredictorProcess("third-party") as predictor:
        assert predictor.version == 1


def test_when_a_held_out_file_can_be_read_all_the_same_then_nothing_is_started(tmp_path, misbehaving_predictors):
    secret, link = tmp_path / "held-out" / "secret", tmp_path / "link"
    secret.parent.mkdir()
    secret.write_text("a test trial")
    os.link(secret, link)
    readable([])  # skips without isolation
    with pytest.raises(ProtocolError, match=rf"could read {secret}, which is held out .* Move that file"):
        PredictorProcess("printing", data=[link], held_out=[secret.parent])
    assert "process" not in misbehaving_predictors  # the predictor was not built


def test_files_that_pth_files_import_run_inside_the_closed_sandbox(tmp_path):
    environment = tmp_path / "environment"
    site = environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    site.mkdir(parents=True)
    (environment / "bin").mkdir()
    (environment / "bin/python").symlink_to(Path(sys.executable).resolve())
    (environment / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
    (site / "tipl_bench").symlink_to(Path(tipl_bench.__file__).parent)
    (site / "others.pth").write_text("".join(f"{Path(entry).absolute()}\n" for entry in sys.path if entry))
    (site / "hook.pth").write_text("import hook\n")
    (site / "hook.py").write_text(
        "import os, sys\n"
        f"try:\n    open({str(TRIAL)!r}).close()\n    found = 'opened'\n"
        "except PermissionError:\n    found = 'denied'\n"
        "os.write(2, f'hook {sys.flags.isolated} {found}\\n'.encode())\n"
    )
    code = (
        "from tipl_bench.benchmark.worker.predictor_process import PredictorProcess\n"
        "with PredictorProcess('persistence') as predictor: print(predictor.isolation)\n"
    )
    done = subprocess.run(
        [environment / "bin/python", "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    if done.stdout.strip() == NO_ISOLATION:
        pytest.skip("this kernel has no Landlock")
    hooks = [line.split()[-1] for line in done.stderr.splitlines() if "hook 1 " in line]
    assert hooks == ["denied"], done.stderr  # once, in the worker


def test_when_a_predictors_package_is_inside_the_store_then_it_still_loads(
    misbehaving_predictors, smooth, tmp_path, monkeypatch
):
    monkeypatch.setenv("TIPL_BENCH_HOME", str(tmp_path))
    (tmp_path / "secret").write_text("returns of true policies")
    with PredictorProcess("mixes-windows") as predictor:
        assert predictor.version == 1
        assert predictor.can_open(file)
        assert predictor.isolation == NO_ISOLATION or not predictor.can_open(other)


def test_a_setting_that_names_a_held_out_file_is_refused(store):
    for file in (TRIAL, write_release("wnn-plus", store / "x" / "released.safetensors")):
        with pytest.raises(OptionError, match=r"^Setting 'weights=.*' names a file among the datasets or in the store"):
            PredictorProcess("wnn-plus", settings=[f"weights={file}"])
