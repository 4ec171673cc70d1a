"""What a predictor's process can read, reach and leave behind, tried from inside."""

from __future__ import annotations

import json
import os
import shutil
import socket
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
from tipl_bench.benchmark.worker.system_calls import MACHINES
from tipl_bench.registry.catalog import BUNDLED
from tipl_bench.registry.dataset import Dataset
from tipl_bench.utils.errors import OptionError, ProtocolError
from tipl_bench.utils.files import sha256

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
        assert predictor.isolation == NO_ISOLATION or not predictor.can_open(tmp_path / "secret")


REFUSING = """
import ctypes, errno, os, struct, sys
from tipl_bench.benchmark.worker import system_calls as bpf
from tipl_bench.benchmark.worker.predictor_process import PredictorProcess

NO_NEW_PRIVS = 38
call, column = sys.argv[1], bpf.MACHINES[os.uname().machine][1]
number, argument = {"capset": ((126, 91), 0), "prctl": ((157, 167), NO_NEW_PRIVS)}[call]
refuse = (bpf.BPF_RET_K, 0, 0, bpf.SECCOMP_RET_ERRNO | errno.EPERM)
allow = (bpf.BPF_RET_K, 0, 0, bpf.SECCOMP_RET_ALLOW)
program = [(bpf.BPF_LD_W_ABS, 0, 0, bpf.NR_OFFSET), (bpf.BPF_JEQ_K, 1, 0, number[column]), allow]
if argument:
    program += [(bpf.BPF_LD_W_ABS, 0, 0, bpf.ARGS_OFFSET), (bpf.BPF_JEQ_K, 1, 0, argument), allow]
lines = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in [*program, refuse]))
header = struct.pack("HxxxxxxQ", len(program) + 1, ctypes.addressof(lines))
prctl = ctypes.CDLL(None).prctl
assert prctl(NO_NEW_PRIVS, 1, 0, 0, 0) == 0
assert prctl(bpf.PR_SET_SECCOMP, bpf.SECCOMP_MODE_FILTER, header, 0, 0) == 0
with PredictorProcess("persistence") as predictor:
    print(predictor.isolation)
"""


@pytest.mark.skipif(os.uname().machine not in MACHINES, reason="the calls' numbers are those of other processors")
@pytest.mark.parametrize("call", ["capset", "prctl"])
def test_when_privileges_cannot_be_given_up_then_no_isolation_is_claimed(call):
    readable([])  # skips without isolation
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", REFUSING, call], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, NO_ISOLATION), done.stderr


def test_a_predictor_cannot_change_what_is_recorded_to_isolate_it(tmp_path):
    script = tmp_path / "claiming.py"
    script.write_text(
        "import gc\nfrom helpers.misbehaving import Misbehaving\n\n"
        "for one in gc.get_objects():\n    if type(one).__name__ == 'Worker':\n        one.isolation = 'none'\n\n"
        "class Claiming(Misbehaving):\n    name = 'claiming'\n"
    )
    with PredictorProcess("persistence") as predictor:
        isolation = predictor.isolation
    helpers = list(Path(synthetic.__file__).parent.glob("*.py"))
    with PredictorProcess(f"{script}:Claiming", data=helpers) as predictor:
        assert predictor.isolation == isolation


def test_a_predictor_cannot_reach_the_network(misbehaving_predictors, smooth, tmp_path):
    name = f"tipl-bench-{os.getpid()}"
    here = os.path.relpath(tmp_path / "socket")  # the path of a socket is short
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX) as file,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams,
    ):
        datagrams.bind(os.path.relpath(tmp_path / "log"))
        for unix, address in ((abstract, f"\0{name}"), (file, here)):
            unix.bind(address)
            unix.listen()
        misbehaving_predictors.set(
            port=server.getsockname()[1], abstract=name, file=tmp_path / "socket", datagram=tmp_path / "log"
        )
        isolation = execute(request("connecting", smooth), tmp_path / "run").record.provenance.isolation
    if isolation == NO_ISOLATION:
        pytest.skip("this kernel has no Landlock")
    seccomp = {"udp", "abstract", "file", "datagram", "pair"}
    closed = {"seccomp": seccomp, "namespaces": {"udp", "abstract"}}
    left = seccomp.difference(*(closed.get(one, set()) for one in isolation.split("+")))
    assert set(misbehaving_predictors["reached"].split()) <= left


def test_a_predictor_can_leave_nothing_for_the_next_process(misbehaving_predictors, smooth, tmp_path):
    for seed in (0, 1):
        record = execute(request("hoarding", smooth, seed=seed), tmp_path / f"run{seed}").record
        if record.provenance.isolation != "landlock+seccomp+namespaces":
            pytest.skip("this system lacks namespaces or seccomp")
        assert misbehaving_predictors["found"] == ""
        assert misbehaving_predictors["left"] == ""


def test_the_worker_has_a_home_of_its_own_and_no_variable_that_is_not_on_the_list(
    misbehaving_predictors, smooth, tmp_path, monkeypatch
):
    refused = ("HF_TOKEN", "WANDB_API_KEY", "NVIDIA_API_KEY", "AWS_SECRET_ACCESS_KEY", "TIPL_BENCH_OTHER", "PYTHONPATH")
    for name in (*refused, "CUBLAS_WORKSPACE_CONFIG"):
        monkeypatch.setenv(name, ":4096:8")
    execute(request("listing", smooth), tmp_path / "run")
    variables = misbehaving_predictors["variables"].split()
    assert not set(refused) & set(variables)
    assert {"CUBLAS_WORKSPACE_CONFIG", "HF_HOME", "OMP_NUM_THREADS"} <= set(variables)
    assert misbehaving_predictors["home"] == "True"


def test_a_file_that_a_setting_names_is_readable_and_no_other_beside_it(tmp_path, monkeypatch):
    file = write_release("wnn-plus", tmp_path / "released.safetensors")
    other = write_release("wnn-plus", tmp_path / "other.safetensors")
    monkeypatch.chdir(tmp_path)
    with PredictorProcess("wnn-plus", settings=["weights=released.safetensors"]) as predictor:
        assert predictor.consumes == "pretrained"
        assert predictor.options["weights"] == f"sha256:{sha256(file)}"
        assert predictor.can_open(file)
        assert predictor.isolation == NO_ISOLATION or not predictor.can_open(other)


def test_a_setting_that_names_a_held_out_file_is_refused(store):
    for file in (TRIAL, write_release("wnn-plus", store / "datasets" / "released.safetensors")):
        with pytest.raises(OptionError, match=r"^Setting 'weights=.*' names a file among the datasets or in the store"):
            PredictorProcess("wnn-plus", settings=[f"weights={file}"])
