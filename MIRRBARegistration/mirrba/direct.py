"""Gradient descent on the displacement itself, without network, by composed, smoothed steps over several scales.

Before the network it finds the large motion in seconds (the paper's "Combined" with a start of our own); after it, it
adds the detail of the finest grid, where a network is slow. Smoothing update and field is the regularisation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from . import fields, losses
from .finished import FinishedStages
from .network import Moving
from .progress import Progress, Stage
from .pyramid import level_shapes, levels_of

WINDOW = 7
UPDATE_SIGMA, FIELD_SIGMA = 1.73, 0.7  # voxels
FINEST_UPDATE_SIGMA, FINEST_FIELD_SIGMA = 1.2, 0.45  # voxels: lesions are a few of them wide
STEP = 0.5  # voxels, the longest vector of an update
PATIENCE = 5  # iterations without a better one before the step is halved
LEAST_STEP = 0.03  # voxels; below it the level is done
COST = 0.04  # of a network's iteration, per voxel


def stage_name(part: str, level: int, levels: int) -> str:
    return f"{part} {level + 1} of {levels}"


def stages(part: str, iterations: Sequence[int], shape: fields.Shape) -> list[Stage]:
    """`part` is "start" or "finish"."""
    count = len(iterations)
    shapes = level_shapes(shape, count)
    return [
        Stage(stage_name(part, k, count), iterations[k], COST * math.prod(shapes[k]), k + 1, count)
        for k in range(count)
    ]


def smooth(field: Tensor, sigma: float) -> Tensor:
    """Gaussian smoothing of `[1, c, z, y, x]`, σ in voxels; at the border the kernel is renormalised. No gradient."""
    radius = max(1, math.ceil(3 * sigma))
    kernel = [math.exp(-0.5 * (shift / sigma) ** 2) for shift in range(radius + 1)]  # numbers: a GPU is not waited for
    for axis in (2, 3, 4):
        size = field.shape[axis]
        total = kernel[0] * field
        mass = torch.full((size,), kernel[0], device=field.device)
        for shift in range(1, min(radius, size - 1) + 1):
            rest, share = size - shift, kernel[shift]
            total.narrow(axis, shift, rest).add_(field.narrow(axis, 0, rest), alpha=share)
            total.narrow(axis, 0, rest).add_(field.narrow(axis, shift, rest), alpha=share)
            mass[shift:] += share
            mass[:rest] += share
        view = [1] * field.dim()
        view[axis] = size
        field = total.div_(mass.view(view))
    return field


def descend(
    part: str,
    fixed: Tensor,
    moving: Tensor,
    weight: Tensor,
    iterations: Sequence[int],
    progress: Progress,
    finished: FinishedStages,
    displacement: Tensor,
) -> Tensor:
    """From `displacement` (unit coordinates) to the one that brings `moving` onto `fixed` best, on `fixed`'s grid.

    `iterations` coarsest level first; `part` names the stages as in `stages`. Levels in `finished` are not run again.
    Where `progress` says that the present state is kept, it is brought to the full grid, and the levels left are
    skipped.
    """
    count = len(iterations)
    images, weights = levels_of(fixed, count), levels_of(weight, count)
    seen = Moving(levels_of(moving, count))
    for level in range(count):
        if progress.kept():
            break
        stage = stage_name(part, level, count)
        found = finished.recall(stage, progress)
        if found is not None:
            displacement = found["displacement"].to(fixed.device)
            continue
        progress.begin(stage)
        similarity = losses.LocalNCC(images[level], WINDOW, weights[level])
        displacement = fields.resize(displacement, fields.shape_of(images[level]))
        warp = partial(seen.warp, level)
        sigmas = _sigmas(finest=level == count - 1)
        displacement = _descend_level(similarity, warp, displacement, iterations[level], sigmas, progress)
        spent = progress.finish()
        if not progress.kept():
            finished.keep(stage, {"displacement": displacement}, spent)
        progress.preview(displacement.detach)
    return fields.resize(displacement, fields.shape_of(fixed))


def _sigmas(finest: bool) -> tuple[float, float]:
    """How far an update and the field are smoothed, voxels."""
    return (FINEST_UPDATE_SIGMA, FINEST_FIELD_SIGMA) if finest else (UPDATE_SIGMA, FIELD_SIGMA)


def _descend_level(
    similarity: losses.LocalNCC,
    warp: Callable[[Tensor], Tensor],
    displacement: Tensor,
    iterations: int,
    sigmas: tuple[float, float],
    progress: Progress,
) -> Tensor:
    """Steps downhill from `displacement`; where they no longer help, back to the best place and on in half steps.

    Raises Diverged where there is no better place than one without a finite loss.
    """
    update_sigma, field_sigma = sigmas
    step, best, lowest, stuck = STEP, displacement, float("inf"), 0
    for iteration in range(1, iterations + 1):
        displacement = displacement.detach().requires_grad_(True)
        loss = similarity(warp(displacement))
        (gradient,) = torch.autograd.grad(loss, displacement)
        value = float(loss.detach())
        if math.isfinite(value):
            progress.step(iteration, value, {"lncc": value})
        elif math.isinf(lowest):
            progress.verify(value)
        else:
            progress.depart(
                "The descent without network diverged; it went back to its best place and on in half steps."
            )
            stuck = PATIENCE - 1
        if value < lowest:
            best, lowest, stuck = displacement.detach(), value, 0
        else:
            stuck += 1
        if progress.kept():
            break
        progress.preview(best.detach)
        if stuck == PATIENCE:
            displacement, step, stuck = best, step / 2, 0
            if step < LEAST_STEP:
                break
            continue
        move = fields.from_voxels(step * _direction(gradient, update_sigma))
        displacement = smooth(fields.compose(displacement.detach(), move), field_sigma)
    return best


def _direction(gradient: Tensor, sigma: float) -> Tensor:
    """The smoothed way down in voxels, its longest vector 1."""
    # The gradient is per unit coordinate; steps of equal length in all directions need it per voxel.
    update = -smooth(fields.from_voxels(gradient), sigma)
    return update / update.norm(dim=1).amax().clamp_min(1e-20)
