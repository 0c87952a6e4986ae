"""The child process: `python -m mirrba.worker JOB_DIR`. docs/architecture.md has the protocol."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from . import job as jobs
from . import resources
from .errors import Cancelled, InputError, MirrbaError, explained

LOOK_AGAIN = 0.1  # seconds, for a word of the parent
GRACE = 0.5  # seconds for the optimisation to stop by itself; one iteration on a CPU can take longer
LAST_WORD = 0.3  # seconds for a parent that does not read to take the last event; then the process ends without it


class Channel:
    """Events to the parent, one JSON object a line; the stream ends with exactly one `done` or `error`.

    A parent that reads slowly, or not at all for a while, loses progress and previews and holds nothing up.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._ended = False
        self._stage = self._plan = ""

    def tell(self, event: dict[str, Any]) -> None:
        with self._lock:
            if self._ended:
                return
            with suppress(OSError):  # the log is on a full disk
                self._log(event)
            if event["event"] not in ("progress", "preview") or self._is_read():
                self._send(event)

    def _log(self, event: dict[str, Any]) -> None:
        """A line a stage, and every warning, on stderr."""
        if event["event"] == "warning":
            print("warning:", event["message"], file=sys.stderr, flush=True)
        elif event["event"] == "progress" and event["stage"] != self._stage:
            if event["plan"] != self._plan:
                self._plan = event["plan"]
                print(self._plan, file=sys.stderr)
            self._stage = event["stage"]
            print(f"{event['elapsed']:8.1f} s  {event['stage']}", file=sys.stderr, flush=True)

    def end(self, event: dict[str, Any]) -> bool:
        """Send the last event; False where one was sent before."""
        with self._lock:
            if self._ended:
                return False
            self._ended = True
            self._send(event)
            return True

    def _is_read(self) -> bool:
        """Whether a line can be written without waiting for the reader."""
        try:
            return bool(select.select([], [self._stream], [], 0)[1])
        except (OSError, ValueError):  # Windows selects sockets only
            return True

    def _send(self, event: dict[str, Any]) -> None:
        try:
            self._stream.write(json.dumps(event) + "\n")
            self._stream.flush()
        except (BrokenPipeError, ValueError):
            os._exit(Cancelled.exit_code)  # nobody reads any more: the parent is gone


class Stop:
    """Set by a line `cancel` on stdin, by the end of stdin (the parent is gone), or by a termination signal.

    A line `keep` sets `kept` instead: the run then ends early and writes what it has found.
    """

    def __init__(self, channel: Channel, output: Path) -> None:
        self._channel, self._output = channel, output
        self._asked, self._keep = threading.Event(), threading.Event()

    def __call__(self) -> bool:
        return self._asked.is_set()

    def kept(self) -> bool:
        return self._keep.is_set()

    def watch(self, stdin: IO[str] | None) -> None:
        """`stdin` is None where it is closed already."""
        threading.Thread(target=self._read, args=(stdin,), daemon=True).start()
        signal.signal(signal.SIGTERM, lambda *_: self.ask())

    def ask(self) -> None:
        self._asked.set()
        threading.Timer(GRACE, self._leave).start()

    def _read(self, stdin: IO[str] | None) -> None:
        for line in _lines(stdin) if stdin is not None else ():
            if line.strip() == "cancel":
                break
            if line.strip() == "keep":
                self._keep.set()
        self.ask()

    def _leave(self) -> None:
        """The optimisation is deep in one iteration: end the process, leaving nothing half-written."""
        last = _error_event(Cancelled("The registration was cancelled; nothing was written."))
        said: list[bool] = []
        teller = threading.Thread(target=lambda: said.append(self._channel.end(last)), daemon=True)
        teller.start()
        teller.join(LAST_WORD)
        if said == [False]:
            return  # the run has ended by itself meanwhile, and its own last word stands
        shutil.rmtree(self._output, ignore_errors=True)
        os._exit(Cancelled.exit_code)


def _lines(stdin: IO[str]) -> Iterator[str]:
    """Until the parent closes its end.

    On Windows a read that waits holds up every library that asks for stdin while it is loaded, as those of numpy do
    (its issue 24290): there, nothing is read before it has come.
    """
    if sys.platform == "win32":
        import _winapi
        import msvcrt

        handle = msvcrt.get_osfhandle(stdin.fileno())
        return polled_lines(stdin.fileno(), lambda: int(_winapi.PeekNamedPipe(handle)[0]))
    return iter(stdin)


def polled_lines(descriptor: int, waiting: Callable[[], int]) -> Iterator[str]:
    """Lines of a pipe, of which no read ever waits. `waiting`: how many bytes have come; OSError at its end."""
    rest = b""
    while True:
        try:
            count = waiting()
        except OSError:
            return
        if count:
            *lines, rest = (rest + os.read(descriptor, count)).split(b"\n")
            yield from (line.decode(errors="replace") for line in lines)
        else:
            time.sleep(LOOK_AGAIN)


def main(arguments: list[str]) -> int:
    # Whatever a library prints must not end up among the events.
    events, sys.stdout = sys.stdout, sys.stderr
    if events is None:  # closed: there is no parent to work for
        return Cancelled.exit_code
    resources.share_cores()
    resources.keep_memory()
    channel = Channel(events)
    try:
        if len(arguments) != 1:
            raise InputError("The worker takes one argument, the job folder.")
        folder = Path(arguments[0])
        stop = Stop(channel, folder / jobs.OUTPUT)
        stop.watch(sys.stdin)
        metrics = jobs.run(jobs.read_job(folder), folder / jobs.OUTPUT, channel.tell, stop, stop.kept)
        _say_last(channel, {"event": "done", "output": jobs.OUTPUT, "metrics": metrics})
        return 0
    except BaseException as error:
        with suppress(OSError):  # the log is on a full disk
            traceback.print_exc()
        known = explained(error)
        _say_last(channel, _error_event(known))
        return known.exit_code


def _say_last(channel: Channel, event: dict[str, Any]) -> None:
    if not channel.end(event):
        threading.Event().wait()  # the thread that cancels has had the last word, and ends the process


def _error_event(error: MirrbaError) -> dict[str, Any]:
    return {"event": "error", "kind": error.kind, "message": str(error)}


if __name__ == "__main__":
    code = main(sys.argv[1:])
    with suppress(OSError, AttributeError):  # on a full disk, or closed
        sys.stderr.flush()
    os._exit(code)  # the thread that waits on stdin must not keep the process alive
