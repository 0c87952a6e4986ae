"""Runs a method, or a training, in a process of its own, so that a crash, a leak or a hang is its own alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import Cancelled, MirrbaError
from .task import DISPLACEMENT_FILE, LOG_FILE, RESULT_FILE, Settings, Task, write_task

POLL = 0.2  # seconds
_THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)


class MethodFailed(MirrbaError):
    """The method gave no result; the message says why in one sentence."""


@dataclass(frozen=True)
class Outcome:
    info: dict[str, Any]
    displacement: Path


def run(task: Task, folder: Path, should_stop: Callable[[], bool] = lambda: False) -> Outcome:
    """Run the method in `folder`, which is to be empty. Raises MethodFailed, and Cancelled after `should_stop`."""
    if (missing := task.method.missing()) is not None:
        raise MethodFailed(missing)
    write_task(task, folder)
    info = run_child("run_method", task.method.title, task.settings, folder, should_stop)
    return Outcome(info, folder / DISPLACEMENT_FILE)


def run_child(
    module: str, title: str, settings: Settings, folder: Path, should_stop: Callable[[], bool]
) -> dict[str, Any]:
    """Run a module of this package on the job in `folder`, and return the info of its result.

    `title` is who has failed. Raises MethodFailed, and Cancelled after `should_stop`.
    """
    code = _wait(_start(module, settings, folder), title, settings, should_stop)
    try:
        result = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise MethodFailed(f"{title} {_ended(code)}; its log tells more.") from None
    if result["status"] != "done":
        raise MethodFailed(f"{title} failed: {result['message']}")
    return result["info"]


def _start(module: str, settings: Settings, folder: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | dict.fromkeys(_THREADS, str(settings.threads))
    environment["ANTS_RANDOM_SEED"] = str(settings.seed + 1)
    # The child finds this very package, installed or not.
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    # Waiting threads sleep: several runs on one machine otherwise slow each other manifold.
    environment.setdefault("GOMP_SPINCOUNT", "20000")
    command = [sys.executable, "-m", f"{__package__}.{module}", str(folder.absolute())]
    with (folder / LOG_FILE).open("wb") as log:
        # In its own folder: some packages write where they are started.
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )


def _wait(process: subprocess.Popen[bytes], title: str, settings: Settings, should_stop: Callable[[], bool]) -> int:
    """The exit code; the process and all that it started are gone when this returns or raises."""
    limit = settings.timeout_s
    started = time.monotonic()
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(POLL)
            if should_stop():
                raise Cancelled(f"{title} was cancelled.")
            if limit is not None and time.monotonic() - started > limit:
                raise MethodFailed(f"{title} took more than {limit:g} s and was stopped; allow it more.")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _ended(code: int) -> str:
    """What an exit without a result means."""
    if code == -signal.SIGKILL:
        return "was killed, most likely for lack of memory"
    if code < 0:
        return f"crashed ({signal.Signals(-code).name})"
    return f"ended with code {code} and no result"
