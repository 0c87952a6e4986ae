"""The progress bar of the command line: stage, loss and time left on one line."""

from __future__ import annotations

from types import TracebackType
from typing import IO, Any

WIDTH = 24


class Bar:
    """Shows progress and warning events on a stream; on something that is no terminal, one line a stage."""

    def __init__(self, stream: IO[str], shown: bool = True) -> None:
        self._stream, self._shown = stream, shown
        self._live = shown and stream.isatty()
        self._stage = self._plan = ""

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()

    def tell(self, event: dict[str, Any]) -> None:
        if not self._shown:
            return
        if event["event"] == "warning":
            self._clear()
            self._stream.write(f"Warning: {event['message']}\n")
            return
        if event["plan"] and event["plan"] != self._plan:
            self._clear()
            self._plan = event["plan"]
            self._stream.write(self._plan + "\n")
        if self._live:
            self._stream.write("\r\033[K" + _line(event))
        elif event["stage"] != self._stage and self._plan:  # before the plan, bad input may still end it
            self._stream.write(_line(event) + "\n")
        self._stage = event["stage"]
        self._stream.flush()

    def _clear(self) -> None:
        if self._live:
            self._stream.write("\r\033[K")
            self._stream.flush()


def _line(event: dict[str, Any]) -> str:
    done = round(WIDTH * event["fraction"])
    parts = [f"[{'█' * done}{'·' * (WIDTH - done)}] {event['fraction']:4.0%}", event["stage"]]
    if event["loss"] is not None:
        parts.append(f"iteration {event['iteration']}/{event['iterations']}, loss {event['loss']:.4f}")
    if event["remaining"] is not None:
        parts.append(f"{_clock(event['remaining'])} left")
    return ", ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
