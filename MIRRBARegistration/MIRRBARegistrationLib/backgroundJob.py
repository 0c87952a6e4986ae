"""One child process: started, listened to from a thread, its events delivered on the caller's thread, and stopped.

The protocol (JSON Lines on stdout; `keep`, `cancel` or end of file on stdin) is docs/architecture.md, "The child
process".
"""

from __future__ import annotations

import contextlib
import enum
import json
import logging
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from .errors import RegistrationError

Event = dict[str, Any]

ENGINE_FOLDER = Path(__file__).resolve().parent.parent
"""The folder from which the child imports `mirrba`."""
CANCEL_GRACE_SECONDS = 3.0
"""How long a child that was asked to stop, or has said that it is done, may take to end by itself."""
POLL_SECONDS = 0.02
LOG_TAIL_LINES = 5
LOG_LIMIT_BYTES = 1_000_000
_LINE_LIMIT_BYTES = 1_000_000
_SIGKILL = 9  # Windows has no such name
_LAUNCHER_SAYS = "exit abnormally"
"""PythonSlicer, itself alive, of an interpreter that was killed or crashed; its own exit code is 1 then."""


class JobState(enum.Enum):
    IDLE = "idle"
    STARTING = "starting"
    RUNNING = "running"
    KEEPING = "keeping"
    """It was asked to end early with what it has found, and has not ended yet."""
    IMPORTING = "importing"
    CANCELLING = "cancelling"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def isFinal(self) -> bool:
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


class Process(Protocol):
    """What is used of subprocess.Popen."""

    stdin: Any
    stdout: Any
    pid: int

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def kill(self) -> None: ...


StartProcess = Callable[[list[str], dict[str, str], Path], Process]


class _ChildProcess(subprocess.Popen):
    """A process whose kill() also ends what it has started: PythonSlicer is a launcher of the interpreter."""

    def kill(self) -> None:
        if sys.platform == "win32":
            subprocess.run(
                ["taskkill", "/F", "/T", "/PID", str(self.pid)],
                capture_output=True,
                check=False,
                creationflags=subprocess.CREATE_NO_WINDOW,
            )
        else:
            with contextlib.suppress(OSError):  # they have ended meanwhile
                os.killpg(self.pid, signal.SIGKILL)
        super().kill()


def startProcess(arguments: list[str], environment: dict[str, str], logPath: Path) -> Process:
    """Start the child in a process group of its own, with stderr appended to the log. Errors: OSError."""
    onWindows = sys.platform == "win32"
    with open(logPath, "ab") as log:
        return _ChildProcess(
            arguments,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=not onWindows,
            creationflags=subprocess.CREATE_NO_WINDOW if onWindows else 0,
        )


def defaultPythonExecutable() -> str:
    """Slicer's own interpreter inside Slicer, else the one that runs this."""
    return shutil.which("PythonSlicer") or sys.executable


def workerEnvironment() -> dict[str, str]:
    """The caller's environment, in which the engine beside this package can be imported."""
    environment = dict(os.environ)
    inherited = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = os.pathsep.join([str(ENGINE_FOLDER), *([inherited] if inherited else [])])
    environment["PYTHONIOENCODING"] = "utf-8"
    environment["PYTHONSAFEPATH"] = "1"  # no module of the current folder takes the place of Python's own
    return environment


class BackgroundJob:
    """One run of `python -m mirrba.worker JOB_DIR`.

    Nothing happens on the caller's thread except inside `start`, `poll`, `wait`, `keep`, `cancel` and `close`: a Qt
    timer or a loop calls `poll`, which calls `onEvent` for progress, warnings and previews, and `importResults` once
    the child has ended well. The job is done when that returned, and failed when it raised RegistrationError.
    """

    def __init__(
        self,
        jobFolder: Path,
        importResults: Callable[[Event], None],
        onEvent: Callable[[Event], None],
        startProcess: StartProcess = startProcess,
        pythonExecutable: str | None = None,
        graceSeconds: float = CANCEL_GRACE_SECONDS,
    ) -> None:
        self.state = JobState.IDLE
        self.error: RegistrationError | None = None
        """Why the job failed; None otherwise."""
        self._logPath = Path(jobFolder) / "log.txt"
        self._arguments = [pythonExecutable or defaultPythonExecutable(), "-m", "mirrba.worker", str(jobFolder)]
        self._importResults = importResults
        self._onEvent = onEvent
        self._startProcess = startProcess
        self._graceSeconds = graceSeconds
        self._process: Process | None = None
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._outputEnded = False
        self._lastWord: Event | None = None
        self._killAt: float | None = None
        self._release: weakref.finalize | None = None

    def start(self) -> None:
        """Start the child. An interpreter that cannot be started makes the job failed, without an exception."""
        if self.state is not JobState.IDLE:
            raise RuntimeError("A background job can be started once.")
        self.state = JobState.STARTING
        try:
            self._process = self._startProcess(self._arguments, workerEnvironment(), self._logPath)
        except OSError as error:
            python = self._arguments[0] or "PythonSlicer, which is not on the path"
            self._fail(RegistrationError(f"The engine could not be started with {python}: {error}."))
            return
        # kills the child when this object, or the whole application, goes away
        self._release = weakref.finalize(self, _endProcess, self._process)
        # the thread holds no reference to this object, so it does not keep it alive
        threading.Thread(
            target=_readLines, args=(self._process.stdout, self._lines, self._logPath), name="MIRRBA", daemon=True
        ).start()

    def poll(self) -> JobState:
        """Deliver what has arrived, on this thread; returns the state."""
        if self._process is None or self.state.isFinal or self.state is JobState.IMPORTING:
            return self.state
        self._deliverLines()
        hasExited = self._process.poll() is not None
        if hasExited and self._outputEnded and not self.state.isFinal:
            self._conclude(self._process.poll())
        elif hasExited and self._killAt is None:
            self._killAfterGrace()  # what it has left behind still holds the pipe
        elif self._killAt is not None and time.monotonic() > self._killAt:
            self._process.kill()
        return self.state

    def wait(self, timeout: float | None = None) -> JobState:
        """Poll until the job is over, or for `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self.poll().isFinal and (end is None or time.monotonic() < end):
            time.sleep(POLL_SECONDS)
        return self.state

    def cancel(self) -> None:
        """Ask the child to stop, and let `poll` kill it if it has not done so after the grace time."""
        if self._process is None or self.state not in (JobState.STARTING, JobState.RUNNING, JobState.KEEPING):
            return
        self.state = JobState.CANCELLING
        self._killAfterGrace()
        self._ask("cancel")

    def keep(self) -> None:
        """Ask a running child to end early with what it has found. It is not hurried: writing may take long."""
        if self.state is JobState.RUNNING:
            self.state = JobState.KEEPING
            self._ask("keep")

    def close(self) -> None:
        """Kill the child if it still runs. A job that was not over becomes cancelled."""
        if self._release is not None:
            self._release()
        if not self.state.isFinal:
            self.state = JobState.CANCELLED

    def logText(self) -> str:
        """The child's log so far, the last megabyte of it."""
        try:
            with open(self._logPath, "rb") as log:
                log.seek(0, os.SEEK_END)
                log.seek(max(0, log.tell() - LOG_LIMIT_BYTES))
                return log.read().decode("utf-8", errors="replace")
        except OSError:
            return ""

    def _ask(self, word: str) -> None:
        # a child that has just ended has closed its end of the pipe: poll will see that
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(f"{word}\n".encode())
            self._process.stdin.flush()

    def _killAfterGrace(self) -> None:
        if self._killAt is None:
            self._killAt = time.monotonic() + self._graceSeconds

    def _deliverLines(self) -> None:
        while not self._outputEnded:
            try:
                line = self._lines.get_nowait()
            except queue.Empty:
                return
            if line is None:
                self._outputEnded = True
                return
            event = parseEvent(line)
            if event is not None:
                self._deliver(event)

    def _deliver(self, event: Event) -> None:
        if event["event"] in ("done", "error"):
            self._lastWord = event
            self._killAfterGrace()
        if self.state is JobState.STARTING:
            self.state = JobState.RUNNING
        isListened = self.state in (JobState.RUNNING, JobState.KEEPING)
        if isListened and event["event"] in ("progress", "warning", "preview"):
            self._onEvent(event)

    def _conclude(self, exitCode: int) -> None:
        """The child has ended and everything it said has been read."""
        lastWord = self._lastWord or {}
        self._release()
        if self.state is JobState.CANCELLING or lastWord.get("kind") == "cancelled":
            self.state = JobState.CANCELLED
        elif lastWord.get("event") == "done":
            self._import(lastWord)
        elif lastWord.get("event") == "error" and lastWord.get("message"):
            self._fail(RegistrationError(str(lastWord["message"]), str(lastWord.get("kind", "internal"))))
        else:
            self._fail(self._death(exitCode))

    def _import(self, done: Event) -> None:
        self.state = JobState.IMPORTING
        try:
            self._importResults(done)
        except RegistrationError as error:
            self._fail(error)
        except Exception as error:  # whatever it is, the job must not stay in this state for ever
            logging.getLogger("MIRRBA").exception("Loading the result failed")
            self._fail(RegistrationError(f"The result could not be loaded into the scene: {error}"))
        else:
            self.state = JobState.DONE

    def _fail(self, error: RegistrationError) -> None:
        self.error = error
        self.state = JobState.FAILED

    def _death(self, exitCode: int) -> RegistrationError:
        """What is said of a child that ended without a last word."""
        lines = [line for line in self.logText().splitlines() if line.strip()][-LOG_TAIL_LINES:]
        if exitCode == -_SIGKILL or any(_LAUNCHER_SAYS in line for line in lines):
            return RegistrationError(
                f"The engine was killed or crashed (exit code {exitCode}), most likely for lack of memory; close "
                "other programs or set a coarser spacing, and run it again.",
                details="\n".join(lines),
            )
        what = f"The engine stopped without a result (exit code {exitCode})"
        if not lines:
            return RegistrationError(f"{what} and wrote no log; run it again.")
        return RegistrationError(f"{what}; its log says more.", details="\n".join(lines))


def parseEvent(line: bytes) -> Event | None:
    """The event on one line of the child's stdout, or None if it is not one."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


def _readLines(stdout: Any, lines: queue.SimpleQueue[bytes | None], logPath: Path) -> None:
    """Put the child's events into the queue, and what else it prints into the log; None at the end."""
    with contextlib.closing(stdout):
        while line := stdout.readline(_LINE_LIMIT_BYTES):
            if parseEvent(line) is not None:
                lines.put(line)
            else:
                with contextlib.suppress(OSError), open(logPath, "ab") as log:  # the folder may be gone already
                    log.write(line)
    lines.put(None)


def _endProcess(process: Process) -> None:
    """Leave nothing running, and no pipe open."""
    if process.poll() is None:
        process.kill()
    with contextlib.suppress(OSError, ValueError):
        process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=5)
