"""A step of the optimisation recorded as a CUDA graph: on a small level, starting its kernels one by one from Python
takes longer than the kernels do.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

log = logging.getLogger("mirrba")

SMALL = 128**3  # voxels of a level; above, the GPU is the slower of the two, and a graph keeps the memory of its step
WARM_UP = 3  # steps before the record: what the libraries choose and allocate at first must not be in it
AGREES = 0.1  # of a step's length: how far from it the record may end


class Found(NamedTuple):
    """What a step tells; a replay writes the next into the same tensors. Displacement: of before the step."""

    displacement: Tensor
    loss: Tensor
    terms: dict[str, Tensor]


Step = Callable[[], Found]


def pay_on(device: torch.device, voxels: int) -> bool:
    return device.type == "cuda" and voxels <= SMALL


def record(step: Step) -> Step:
    """The step's kernels as a graph, with what `step` reads and writes where it is now. Steps are made meanwhile."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    # The outer one leaves the stream even where the record fails: the inner then does not.
    with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(graph, stream=stream):
        found = step()

    def replay() -> Found:
        graph.replay()
        return found

    return replay


class Replayed:
    """Each call one step of `optimizer`: the first two as `step` makes them, from then on by its record.

    The record is taken at the second, when the optimizer holds all that it will hold, and is kept only if it changes
    the parameters as the step does; where it does not, or cannot be taken, every step is made as it is.
    """

    def __init__(self, step: Step, optimizer: torch.optim.Optimizer, recorded: Callable[[Step], Step] = record) -> None:
        self._step, self._optimizer, self._recorded = step, optimizer, recorded
        self._calls = 0

    def __call__(self) -> Found:
        self._calls += 1
        if self._calls == 1:
            with warnings.catch_warnings():  # Adam's, of a step that is no graph's
                warnings.filterwarnings("ignore", message=".*capturable=True")
                return self._step()
        return self._step() if self._calls != 2 else self._record()

    def _record(self) -> Found:
        parameters, state = self._parameters(), self._state()
        before = _copies(state)
        found = self._step()
        after = _copies(state)
        try:
            replay = self._recorded(self._step)
            _put(before, state)
            replay()
            agrees = _agree(parameters, before, after)
        except RuntimeError as error:  # of CUDA's many reasons not to record, all are this to PyTorch
            log.info("No CUDA graph could be recorded (%s); the steps are made one by one.", error)
            agrees = False
        if agrees:
            self._step = replay
        else:
            _put(after, state)
        return found

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self._optimizer.param_groups for parameter in group["params"]]

    def _state(self) -> list[Tensor]:
        """All that a step changes, the parameters first."""
        held = [value for values in self._optimizer.state.values() for value in values.values()]
        return [*self._parameters(), *(value for value in held if isinstance(value, Tensor))]


def _copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in tensors]


def _put(values: Sequence[Tensor], tensors: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for value, tensor in zip(values, tensors, strict=True):
            tensor.copy_(value)


def _agree(found: Sequence[Tensor], before: Sequence[Tensor], after: Sequence[Tensor]) -> bool:
    """Whether `found` is where the step ends, of which `before` and `after` are the first as many tensors."""
    with torch.no_grad():
        off = sum(float((a - b).square().sum()) for a, b in zip(found, after, strict=False))
        length = sum(float((a - b).square().sum()) for a, b in zip(after[: len(found)], before, strict=False))
    return off <= AGREES**2 * length
