"""What a CUDA graph needs of a step, and what becomes of one that does not do what it recorded. The record itself needs
a GPU: test_cuda.py.
"""

import math

import pytest
import torch
from mirrba import graphs, progress
from mirrba.finished import FinishedStages
from mirrba.optimize import optimize, stages
from mirrba.presets import resolve
from torch.utils._python_dispatch import TorchDispatchMode

CALLS = 6
WAITED_FOR = {"aten::_local_scalar_dense", "aten::lift_fresh", "aten::nonzero", "aten::equal", "aten::is_nonzero"}


def problem():
    """A step of Adam towards a place, and where it starts from."""
    place = torch.tensor([[3.0, -1.0], [0.5, 2.0]])
    point = torch.nn.Parameter(torch.zeros(2, 2))
    optimizer = torch.optim.Adam([point], lr=0.1)

    def step():
        loss = (point - place).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return graphs.Found(point.detach().clone(), loss.detach(), {})

    return step, optimizer, point


def expected():
    step, _, point = problem()
    losses = [float(step().loss) for _ in range(CALLS)]
    return losses, point.detach()


def replayed(recorded):
    step, optimizer, point = problem()
    recording = []

    def noted(step):
        recording.append(step)
        return recorded(step)

    run = graphs.Replayed(step, optimizer, noted)
    losses = [float(run().loss) for _ in range(CALLS)]
    assert len(recording) == 1
    return losses, point.detach()


def refused(step):
    step()
    raise RuntimeError("operation not permitted when stream is capturing")


def warmed_up(step):
    for _ in range(graphs.WARM_UP):
        step()
    return step


@pytest.mark.parametrize(
    "recorded",
    [
        pytest.param(warmed_up, id="a record that is the step"),
        pytest.param(lambda step: lambda: None, id="one that does nothing"),
        pytest.param(lambda step: lambda: (step(), step()), id="one that does too much"),
        pytest.param(refused, id="one that cannot be taken"),
    ],
)
def test_each_call_is_one_step_whatever_the_record_does(recorded):
    losses, point = replayed(recorded)
    expected_losses, expected_point = expected()
    assert losses == expected_losses
    assert torch.equal(point, expected_point)


def test_a_record_that_agrees_is_what_runs_from_then_on():
    made = []

    def recorded(step):
        return lambda: made.append(None) or step()

    replayed(recorded)
    assert len(made) == CALLS - 1


def test_graphs_are_for_small_levels_on_a_gpu():
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert graphs.pay_on(gpu, 100**3)
    assert not graphs.pay_on(gpu, 200**3)
    assert not graphs.pay_on(cpu, 50**3)


class Waits(TorchDispatchMode):
    """Counts what would make the host wait for a GPU, or bring it a number: neither may be in a step."""

    def __init__(self, monkeypatch):
        super().__init__()
        self.count, self.counting = 0, True
        step = torch.optim.Adam.step

        def not_counted(optimizer):
            """Adam reads its counts of steps: on a CPU, and off it only where it is not `capturable`, from the host."""
            self.counting = False
            step(optimizer)
            self.counting = True

        monkeypatch.setattr(torch.optim.Adam, "step", not_counted)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += self.counting and func.name().split(".")[0] in WAITED_FOR
        return func(*args, **(kwargs or {}))


class Followed(progress.Progress):
    """Notes how often was waited until each step."""

    def step(self, iteration, loss, terms):
        self.waited.append((self._stage.name, self.waits.count))
        super().step(iteration, loss, terms)


@pytest.mark.parametrize(
    ("preset", "changes", "mixed", "recompute"),
    [
        ("mirrba", {}, False, False),
        ("mirrba", {}, False, True),
        ("mirrba", {}, True, False),
        ("mirrba-depth-4-max-up", {}, False, False),
        ("mirrba-def-conv", {"depth": 1}, False, False),
        ("mirrba-wo-archi", {}, False, False),
    ],
)
def test_no_step_of_a_network_makes_the_host_wait(monkeypatch, preset, changes, mixed, recompute):
    monkeypatch.setattr(progress, "INTERVAL", math.inf)
    config = resolve(preset, freeze=0.5, **changes)
    shape, iterations = (16, 32, 16), (4,) * config.depth
    generator = torch.Generator().manual_seed(0)
    fixed, moving = (torch.rand(1, 1, *shape, generator=generator) for _ in range(2))
    follow = Followed(stages(config, iterations, shape))
    follow.waited, follow.waits = [], Waits(monkeypatch)
    with follow.waits:
        optimize(
            fixed,
            moving,
            torch.ones_like(fixed),
            config,
            iterations,
            follow,
            FinishedStages(),
            torch.zeros(1, 3, *shape),
            mixed=mixed,
            recompute=recompute,
        )
    assert follow.waits.count > 0, "what is read of a level at its end was not seen"
    assert len(follow.waited) == sum(iterations)
    for (stage, count), (next_stage, next_count) in zip(follow.waited, follow.waited[1:], strict=False):
        assert stage != next_stage or count == next_count, f"{preset} waits in {stage}"
