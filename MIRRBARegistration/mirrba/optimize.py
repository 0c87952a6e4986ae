"""The coarse-to-fine optimisation of the network on one pair (paper sections 3.3 and 4.2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from . import fields, graphs, losses, schedule
from .errors import Diverged
from .finished import FinishedStages
from .network import FreeVelocity, Moving, Pyramid, State
from .presets import Config
from .progress import Progress, Stage
from .pyramid import level_shapes, levels_of

# Seconds per voxel and iteration, relative to each other: only the time left is estimated from them.
NETWORK_COST = 1.0
FREE_COST = 0.12

RESTARTS = 2  # of a level that has diverged
SMALLER = 0.1  # times the learning rate, at each of them
LOST = 0.5  # of a level's best loss: so far above it, a level has lost the way and does not come back
LEAST = 0.1  # taken for the best loss where that is nearer to zero: what noise alone gives goes up and down


def levels_run(config: Config) -> int:
    """How many of the pyramid's levels are optimised."""
    return config.depth if config.stop_level is None else min(config.stop_level, config.depth)


def stage_name(level: int, config: Config) -> str:
    return f"level {level + 1} of {config.depth}"


def stages(config: Config, iterations: Sequence[int], shape: fields.Shape) -> list[Stage]:
    unit = NETWORK_COST if config.architecture else FREE_COST
    shapes = level_shapes(shape, config.depth)
    return [
        Stage(stage_name(k, config), iterations[k], unit * math.prod(shapes[k]), k + 1, config.depth)
        for k in range(levels_run(config))
    ]


def optimize(
    fixed: Tensor,
    moving: Tensor,
    weight: Tensor,
    config: Config,
    iterations: Sequence[int],
    progress: Progress,
    finished: FinishedStages,
    start: Tensor | None = None,
    mixed: bool = False,
    recompute: bool = False,
) -> Tensor:
    """The displacement (unit coordinates, `[1, 3, z, y, x]`) that brings `moving` onto `fixed`, start included.

    Images and weight `[1, 1, z, y, x]` on one grid whose sides divide by 2^depth; `start` a displacement on it.
    `iterations` per level, coarsest first. `mixed`: convolutions in bfloat16; `recompute`: activations are computed
    twice instead of kept. Levels in `finished` are not run again. Where `progress` says that the present state is kept,
    it is brought to the full grid, and the levels left are skipped.
    """
    shape = fields.shape_of(fixed)
    if levels_run(config) == 0:
        return fields.zeros(shape, fixed.device) if start is None else start
    torch.manual_seed(config.seed)
    images = levels_of(fixed, config.depth)
    weights = levels_of(weight, config.depth)
    seen = Moving(levels_of(moving, config.depth), start)
    rate = schedule.learning_rate_for(config, iterations)
    shapes = level_shapes(shape, config.depth)
    model = Pyramid(config, mixed, recompute) if config.architecture else FreeVelocity(shapes)
    model = model.to(fixed.device)
    if config.architecture:
        model = model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    state: State | None = None
    for level in range(levels_run(config)):
        if progress.kept():
            break
        stage = stage_name(level, config)
        found = finished.recall(stage, progress)
        if found is not None:
            model.load_state_dict(found)
            state = lower(model, level + 1, images, seen)
            continue
        similarity = losses.MultiResolutionNCC(images[level], level + 1, weights[level])
        state = _optimize_or_restart(model, level, images, seen, similarity, config, rate, iterations[level], progress)
        spent = progress.finish()
        if not progress.kept():
            finished.keep(stage, model.state_dict(), spent, progress.departures)
        progress.preview(partial(_displacement, state, level, seen))
    if state is None:
        displacement = fields.zeros(shape, fixed.device)
    else:
        displacement = fields.integrate(fields.resize(state.velocity, shape))
    return displacement if start is None else fields.compose(start, displacement)


def _optimize_or_restart(
    model: Pyramid | FreeVelocity,
    level: int,
    images: Sequence[Tensor],
    moving: Moving,
    similarity: losses.MultiResolutionNCC,
    config: Config,
    rate: float,
    iterations: int,
    progress: Progress,
) -> State:
    """The level; where it diverges, once more from the state that it began with, in smaller steps."""
    stage = stage_name(level, config)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    progress.begin(stage)
    for _ in range(RESTARTS):
        try:
            return _optimize_level(model, level, images, moving, similarity, config, rate, iterations, progress)
        except Diverged:
            rate *= SMALLER
            progress.depart(f"The optimisation diverged in '{stage}'; it begins again with learning_rate={rate:g}.")
            progress.restart()
            model.load_state_dict(before)
    return _optimize_level(model, level, images, moving, similarity, config, rate, iterations, progress)


def _optimize_level(
    model: Pyramid | FreeVelocity,
    level: int,
    images: Sequence[Tensor],
    moving: Moving,
    similarity: losses.MultiResolutionNCC,
    config: Config,
    learning_rate: float,
    iterations: int,
    progress: Progress,
) -> State:
    parameters = [p for k in range(level + 1) for p in model.parameters_of(k)]
    fixed = images[level]
    recorded = graphs.pay_on(fixed.device, fixed.numel())
    optimizer = torch.optim.Adam(parameters, lr=learning_rate, capturable=recorded)
    frozen = iterations if level == 0 else round(config.freeze * iterations)
    seen = lower(model, level, images, moving)

    def step_from(below: Callable[[], State | None]) -> graphs.Step:
        def step() -> graphs.Found:
            state = model.step(level, below(), moving, fixed)
            displacement = fields.integrate(state.velocity)
            terms = objective(state, displacement, similarity(moving.warp(level, displacement)), config)
            loss = torch.stack(list(terms.values())).sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            told = {name: term.detach() for name, term in terms.items()}
            return graphs.Found(displacement.detach(), loss.detach(), told)

        return graphs.Replayed(step, optimizer) if recorded else step

    step = step_from(lambda: seen)
    for iteration in range(1, iterations + 1):
        if iteration == frozen + 1:
            step = step_from(lambda: forward(model, level, images, moving))
        found = step()
        progress.step(iteration, found.loss.clone(), dict(found.terms))
        if progress.kept():
            break
        progress.preview(partial(moving.through_start, level, found.displacement))
    with torch.no_grad():
        result = forward(model, level + 1, images, moving)
    assert result is not None
    result = result.detach()
    progress.verify(result.velocity.abs().sum())  # no loss has told of the last step yet
    if not progress.kept():
        _keep_to_the_way(progress.losses(), stage_name(level, config))
    return result


def _keep_to_the_way(losses: Sequence[float], stage: str) -> None:
    """Raises Diverged where a level ends far from its best loss, and so from what its windows can see."""
    if losses and losses[-1] > min(losses) + LOST * max(abs(min(losses)), LEAST):
        raise Diverged(
            f"The optimisation lost its way in '{stage}' (loss {losses[-1]:.3g}, at best {min(losses):.3g}), in "
            "smaller steps too; try another preset."
        )


def objective(state: State, displacement: Tensor, lncc: Tensor, config: Config) -> dict[str, Tensor]:
    """The terms of the loss by name, each with its λ; `displacement` is the integrated velocity of `state`."""
    terms = {"lncc": lncc}
    if config.smooth:
        terms["smooth"] = config.smooth * losses.smoothness(state.velocity)
    if config.diffeo:
        terms["diffeo"] = config.diffeo * losses.folding(displacement)
    return terms


def _displacement(state: State, level: int, moving: Moving) -> Tensor:
    """What a level has found, start included, on the level's grid."""
    return moving.through_start(level, fields.integrate(state.velocity))


def forward(model: Pyramid | FreeVelocity, count: int, images: Sequence[Tensor], moving: Moving) -> State | None:
    """The state after the lowest `count` levels."""
    state: State | None = None
    for level in range(count):
        state = model.step(level, state, moving, images[level])
    return state


def lower(model: Pyramid | FreeVelocity, level: int, images: Sequence[Tensor], moving: Moving) -> State | None:
    """The frozen levels below: run once, without a graph."""
    with torch.no_grad():
        state = forward(model, level, images, moving)
    return None if state is None else state.detach()
