"""What the code must not do, what a run must not reach, and what must be written down. Policy: SECURITY.md."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import SimpleITK as sitk
from hostile import body

ROOT = Path(__file__).parents[1]
MODULE = ROOT / "MIRRBARegistration"
SOURCES = sorted([*(MODULE / "mirrba").rglob("*.py"), *(MODULE / "MIRRBARegistrationLib").rglob("*.py"),
                  MODULE / "MIRRBARegistration.py"])  # fmt: skip
QUICK = ["--preset", "fast", "--device", "cpu", "--spacing", "24", "--set", "start=2,2", "--init", "centre"]

FORBIDDEN_MODULES = {"cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib", "pty", "commands"}
FORBIDDEN_CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "pandas.read_pickle", "yaml.load", "input",
}  # fmt: skip


def calls(path: Path) -> list[tuple[str, ast.Call]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def keyword(call: ast.Call, name: str) -> object:
    return next((ast.literal_eval(given.value) for given in call.keywords if given.arg == name), None)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_nothing_stored_is_executed_and_no_shell_is_called(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {name.split(".")[0] for name in names} & FORBIDDEN_MODULES
        if isinstance(node, ast.Name | ast.Attribute | ast.alias) and "pickle" in ast.unparse(node):
            # torch.load raises pickle's error: to catch it is all that pickle may be named for
            assert ast.unparse(node) in ("pickle", "pickle.UnpicklingError", "UnpicklingError")
    for name, call in calls(path):
        assert name not in FORBIDDEN_CALLS, ast.unparse(call)
        assert not name.startswith(("os.exec", "os.spawn")), ast.unparse(call)
        assert keyword(call, "shell") in (None, False) if name.startswith("subprocess.") else True
        assert keyword(call, "allow_pickle") in (None, False) if name.endswith("load") else True
        if name == "torch.load":
            assert keyword(call, "weights_only") is True


# The network. What asks the kernel for a socket, in Python or in C++, is killed.

NO_SOCKETS = """
import ctypes, platform, struct
# Berkeley packet filter: load the system call's number; kill the process if it is socket(2); else allow
number = {"x86_64": 41, "aarch64": 198}[platform.machine()]
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x80000000), (0x06, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *step) for step in steps))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
for arguments in ((38, 1, 0, 0, 0), (22, 2, program, 0, 0)):  # no new privileges; the filter
    if libc.prctl(*arguments):
        raise SystemExit("no seccomp")
"""


def without_sockets(folder: Path, *arguments) -> subprocess.CompletedProcess:
    (folder / "sitecustomize.py").write_text(NO_SOCKETS)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(MODULE)])}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, env=environment, cwd=folder, check=False
    )


@pytest.fixture
def offline(tmp_path) -> Path:
    """A folder in which Python runs without sockets; skips where that cannot be had."""
    if not sys.platform.startswith("linux"):
        pytest.skip("system calls are filtered on Linux only")
    tried = without_sockets(tmp_path, "-c", "import socket; socket.socket()")
    if "no seccomp" in tried.stderr or "KeyError" in tried.stderr:
        pytest.skip("this kernel does not filter system calls")
    assert tried.returncode < 0  # killed: the filter works
    return tmp_path


def test_a_registration_asks_for_no_socket(offline):
    for name, seed in (("fixed", 1), ("moving", 2)):
        sitk.WriteImage(body(seed=seed), str(offline / f"{name}.nrrd"))
    done = without_sockets(offline, "-m", "mirrba", "register", "fixed.nrrd", "moving.nrrd", "-o", "out", *QUICK)
    assert done.returncode == 0, done.stderr
    assert (offline / "out" / "result.json").exists()


def test_making_a_phantom_and_listing_ask_for_no_socket(offline):
    for arguments in (["phantom", "-o", "pair", "--spacing", "20"], ["presets"], ["devices"]):
        done = without_sockets(offline, "-m", "mirrba", *arguments)
        assert done.returncode == 0, done.stderr


# What is written down


def test_every_dependency_is_in_the_list_of_licences():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    needed = {re.match(r"[\w.-]+", entry)[0].casefold() for group in groups for entry in group} - {"mirrba"}
    rows = re.findall(r"^\| ([\w.-]+) \| ([^|]+) \|", (ROOT / "docs" / "licences.md").read_text("utf-8"), re.MULTILINE)
    listed = {name.casefold(): licence.strip() for name, licence in rows}
    assert needed <= set(listed)
    assert all(listed.values())


@pytest.mark.parametrize(
    "path", ["README.md", "SECURITY.md", "MIRRBARegistration/MIRRBARegistration.py", "CMakeLists.txt"]
)
def test_the_intended_use_is_stated(path):
    text = (ROOT / path).read_text(encoding="utf-8").casefold()
    assert "for research" in text
    assert "not a medical device" in text
