"""The child process: `python -m mirrba.experiment.run_method FOLDER` runs the method of FOLDER/job.json.

It leaves displacement.nrrd and, last, result.json: {"status": "done", "info": {…}} or {"status": "failed",
"message": "one sentence"}. No result.json: it has crashed.
"""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import importlib.metadata
import os
import platform
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from .. import resources
from ..errors import MirrbaError, explained
from ..writing import whole, write_json
from .methods import PACKAGES, Method
from .task import DISPLACEMENT_FILE, RESULT_FILE, Registered, Settings, Task, read_task


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0])
    return child(folder, lambda: run(read_task(folder), folder))


def child(folder: Path, work: Callable[[], dict[str, Any]]) -> int:
    """Do the work, write FOLDER/result.json with the info that it returns, and return the exit code."""
    faulthandler.enable()  # a crash in a package's own code leaves its place in the log
    die_with_parent()
    try:
        info = work()
    except BaseException as error:
        traceback.print_exc()
        write_json(folder / RESULT_FILE, {"status": "failed", "message": sentence(error)})
        return explained(error).exit_code
    write_json(folder / RESULT_FILE, {"status": "done", "info": info})
    return 0


def run(task: Task, folder: Path) -> dict[str, Any]:
    """Register, write the field and return what is to be told of the run."""
    from ..images import read_volume
    from .displacement import checked, write_field

    fixed, moving = read_volume(task.fixed), read_volume(task.moving)
    found = backend(task.method).register(fixed, moving, folder, task)
    peak = resources.peak_memory_mb()
    with whole(folder / DISPLACEMENT_FILE) as aside:
        write_field(checked(found.displacement, fixed), aside)
    return described(task, found, peak)


def described(task: Task, found: Registered, peak: float | None) -> dict[str, Any]:
    return {
        **found.more,
        "seconds": round(found.seconds, 3),
        "peak_memory_mb": peak,
        "parameters": dict(found.parameters),
        **surroundings(task.method, task.settings),
    }


def surroundings(method: Method, settings: Settings) -> dict[str, Any]:
    """What a run was made with and on."""
    return {
        "threads": settings.threads,
        "seed": settings.seed,
        "versions": versions(method),
        "platform": platform.platform(),
        "cpu": cpu_name(),
    }


def backend(method: Method) -> ModuleType:
    """The module that runs the method. Raises MirrbaError where its package is missing."""
    if (missing := method.missing()) is not None:
        raise MirrbaError(missing)
    return importlib.import_module(f".backends.{method.backend}", __package__)


def versions(method: Method) -> dict[str, str]:
    names = ["numpy", "SimpleITK", PACKAGES.get(method.backend, "torch")]
    return {
        "mirrba": importlib.import_module("mirrba").__version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in names},
    }


def sentence(error: BaseException) -> str:
    """A package's own error keeps its words: the last line of an ITK message is the one that tells."""
    if isinstance(error, (MirrbaError, MemoryError, KeyboardInterrupt, OSError)):
        return str(explained(error))
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else 'no message'}."


def die_with_parent() -> None:
    """A study that is killed must not leave an hour of registration running (Linux; elsewhere it may)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def leave(code: int) -> None:
    """End the process here: some packages crash while they clean up, and the result is written."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
