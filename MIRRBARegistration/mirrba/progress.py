"""What a run tells and shows while it goes on, and how it is asked to stop."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from .errors import Cancelled, Diverged

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger("mirrba")

INTERVAL = 0.25  # seconds between two events: reading the loss waits for the device
PREVIEW_INTERVAL = 4.0  # seconds between two previews: each is a warp of the whole volume and a file


class Number(Protocol):
    """A float, or a tensor of one element still on its device."""

    def __float__(self) -> float: ...


@dataclass(frozen=True)
class Stage:
    """A part of the run; `cost` is per iteration, in any unit common to the stages."""

    name: str
    iterations: int
    cost: float
    level: int = 0
    levels: int = 0


@dataclass(frozen=True)
class Event:
    """One progress report; times in seconds, `remaining` None while unknown, `plan` the sentence on what will run."""

    stage: str
    level: int
    levels: int
    iteration: int
    iterations: int
    loss: float | None
    terms: dict[str, float]
    fraction: float
    elapsed: float
    remaining: float | None
    plan: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Progress:
    """Follows a list of stages; raises Cancelled from `step` as soon as `should_stop` says so.

    `on_preview` is handed a function that gives the present displacement, `[1, 3, z, y, x]` in unit coordinates, on the
    grid of whatever level runs.
    """

    stages: list[Stage]
    on_progress: Callable[[Event], None] | None = None
    should_stop: Callable[[], bool] | None = None
    should_keep: Callable[[], bool] | None = None
    on_preview: Callable[[Callable[[], Tensor]], None] | None = None
    plan: str = ""
    history: list[dict[str, Any]] = field(default_factory=list)
    departures: list[str] = field(default_factory=list)
    """A sentence for each way in which the run is not the one that was planned."""
    stopped_early: bool = False
    _stage: Stage | None = None
    _done: float = 0.0
    _skipped: float = 0.0
    _started: float = field(default_factory=time.monotonic)
    _work_started: float | None = None
    _told: float = -math.inf
    _shown: float = -math.inf
    _losses: list[Number] = field(default_factory=list)

    def follow(self, stages: list[Stage], plan: str) -> None:
        """Follow these stages from their beginning; what was told of others before is void."""
        self.stages, self.plan = stages, plan
        self.history, self._done, self._skipped, self._work_started = [], 0.0, 0.0, None
        self._stage, self._losses = None, []

    def begin(self, name: str) -> None:
        """Enter the named stage, from its beginning; the loss history of the one before is closed."""
        self.finish()
        self._stage = self._named(name)
        if self._work_started is None and self._stage.cost:
            self._work_started = time.monotonic()
        self._tell(0, None, {})

    def step(self, iteration: int, loss: Number, terms: dict[str, Number]) -> None:
        """After `iteration` (from 1) of the stage. Raises Cancelled, or Diverged where the loss is not finite."""
        self.check()
        self._losses.append(loss)
        if time.monotonic() - self._told >= INTERVAL:
            self._tell(iteration, loss, terms)

    def check(self) -> None:
        if self.should_stop is not None and self.should_stop():
            raise Cancelled("The registration was cancelled; nothing was written.")

    def kept(self) -> bool:
        """Whether to end here with what has been found so far; once said, it stays."""
        self.stopped_early = self.stopped_early or (self.should_keep is not None and self.should_keep())
        return self.stopped_early

    def preview(self, displacement: Callable[[], Tensor]) -> None:
        """Offer the present displacement; it is computed only where a preview is wanted and due."""
        if self.on_preview is None or time.monotonic() - self._shown < PREVIEW_INTERVAL:
            return
        self.on_preview(displacement)
        self._shown = time.monotonic()  # after it, so that a slow disk does not slow the run

    def depart(self, sentence: str) -> None:
        """The run goes on otherwise than planned: warn, and keep it for the provenance."""
        if sentence not in self.departures:
            log.warning(sentence)
            self.departures.append(sentence)

    def restart(self) -> None:
        """The stage begins again; its losses so far are void."""
        self._losses = []

    def verify(self, number: Number) -> None:
        """Raises Diverged where this or a loss of the stage is not finite."""
        assert self._stage is not None
        for value in (*self._losses, number):
            _finite(value, self._stage.name)

    def losses(self) -> list[float]:
        """Of the stage so far. On a GPU, the host waits for them."""
        return [float(loss) for loss in self._losses]

    def finish(self) -> list[float]:
        """The stage is over; its losses."""
        stage = self._stage
        if stage is None:
            return []
        losses = self.losses()
        self._losses, self._stage = [], None
        self._pass(stage, losses)
        return losses

    def skip(self, name: str, losses: list[float]) -> None:
        """The named stage was finished before, with these losses."""
        stage = self._named(name)
        self._skipped += stage.cost * stage.iterations
        self._pass(stage, losses)

    def _pass(self, stage: Stage, losses: list[float]) -> None:
        if losses:
            self.history.append({"stage": stage.name, "loss": losses})
        self._done += stage.cost * stage.iterations

    def _named(self, name: str) -> Stage:
        return next(stage for stage in self.stages if stage.name == name)

    def _tell(self, iteration: int, loss: Number | None, terms: dict[str, Number]) -> None:
        self.check()
        stage = self._stage
        assert stage is not None
        self._told = time.monotonic()
        value = None if loss is None else _finite(loss, stage.name)
        if self.on_progress is None:
            return
        fraction = self._fraction(iteration)
        elapsed = self._told - self._started
        self.on_progress(
            Event(
                stage=stage.name,
                level=stage.level,
                levels=stage.levels,
                iteration=iteration,
                iterations=stage.iterations,
                loss=value,
                terms={name: float(term) for name, term in terms.items()},
                fraction=round(fraction, 4),
                elapsed=round(elapsed, 2),
                remaining=self._remaining(fraction),
                plan=self.plan,
            )
        )

    def _remaining(self, fraction: float) -> float | None:
        """Seconds, from what this run has done itself; the preparation has no share in the fraction."""
        own = fraction - self._share(self._skipped)
        if self._work_started is None or own <= 0.02:
            return None
        return round((time.monotonic() - self._work_started) * (1 - fraction) / own, 1)

    def _fraction(self, iteration: int) -> float:
        assert self._stage is not None
        return self._share(self._done + self._stage.cost * iteration)

    def _share(self, cost: float) -> float:
        total = sum(stage.cost * stage.iterations for stage in self.stages)
        return min(1.0, cost / total) if total else 0.0


def _finite(loss: Number, stage: str) -> float:
    value = float(loss)
    if not math.isfinite(value):
        raise Diverged(
            f"The optimisation diverged in '{stage}' (loss {value}), in smaller steps too; look for extreme values in "
            "the volumes, or try another preset."
        )
    return value
