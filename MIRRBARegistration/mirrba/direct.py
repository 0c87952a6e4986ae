"""Gradient descent on the displacement itself, without network, by composed, smoothed steps over several scales.

Our own presets are this alone. Before the network it finds the large motion in seconds (the paper's "Combined" with a
start of our own); after it, it adds the detail of the finest grid, where a network is slow. The way down is along the
warped image's own gradient, on the grid on which steps are composed. Smoothing update and field is the regularisation:
the field most where the images show nothing but noise, which pulls as well. The smoothing of the field resists bending
only, and lets what grows evenly across the body pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from . import bands, fields, kernels, losses
from .finished import FinishedStages
from .network import Moving
from .progress import Progress, Stage
from .pyramid import level_shapes, levels_of

UPDATE_SIGMA, FIELD_SIGMA = 1.73, 1.0  # voxels
FINEST_UPDATE_SIGMA, FINEST_FIELD_SIGMA = 1.2, 0.35  # voxels: lesions are a few of them wide
PLAIN_SIGMA = 3.0  # voxels: of the field where neither image has contrast
CONTRAST_WINDOW = 3  # voxels: in a wider one, the surroundings of a lesion would be smoothed as little as the lesion
NOISE = 1e-3  # variance of the normalised intensities that is as likely noise as anatomy
STEP = 0.5  # voxels, the longest vector of an update
PATIENCE = 5  # iterations without a better one before the step is halved
LEAST_STEP = 0.03  # voxels; below it the level is done
COST = 0.04  # of a network's iteration, per voxel


def stages(part: str, iterations: Sequence[int], shape: fields.Shape) -> list[Stage]:
    """`part` is "start" or "finish"."""
    count = len(iterations)
    return [
        Stage(name, iterations[k], COST * math.prod(level_shape), k + 1, count)
        for k, (name, level_shape) in enumerate(zip(_stage_names(part, count), level_shapes(shape, count), strict=True))
    ]


def _stage_names(part: str, levels: int) -> list[str]:
    return [f"{part} {k + 1} of {levels}" for k in range(levels)]


def smooth(field: Tensor, sigma: float) -> Tensor:
    """Gaussian smoothing of `[1, c, z, y, x]`, σ in voxels; at the border the kernel is renormalised. No gradient."""
    fused = kernels.working("fused_fields", field.device)
    if fused is not None:
        found: Tensor = fused.smooth(field, sigma)
        return found
    radius = max(1, math.ceil(3 * sigma))
    matrices = []
    for size in fields.shape_of(field):
        distance = bands.distances(size, field)
        kernel = torch.exp(-0.5 * (distance / sigma) ** 2) * (distance <= radius)
        matrices.append(kernel / kernel.sum(dim=1, keepdim=True))
    return bands.along_axes(field, matrices, radius)


def compile_ahead(device: torch.device) -> None:
    """Use every kernel of a descent but those of LNCC's window, which depends on the grid."""
    field = torch.zeros(1, 3, 8, 8, 8, device=device)
    for sigma in (UPDATE_SIGMA, FIELD_SIGMA, FINEST_UPDATE_SIGMA, FINEST_FIELD_SIGMA, PLAIN_SIGMA):
        smooth(field, sigma)
    losses.box_sum(field, CONTRAST_WINDOW)  # its first product has a GPU load a library


def unbent(field: Tensor, sigma: float) -> Tensor:
    """`[1, c, z, y, x]` smoothed by 2G − G², G being `smooth`: quadratic fields pass unchanged, but at the border.

    G alone flattens every curve of a smooth motion a little at each step, since it resists stretching.
    """
    once = smooth(field, sigma)
    return (2 * once).sub_(smooth(once, sigma))


def descend(
    part: str,
    fixed: Tensor,
    moving: Tensor,
    weight: Tensor,
    iterations: Sequence[int],
    window: int,
    progress: Progress,
    finished: FinishedStages,
    displacement: Tensor,
) -> Tensor:
    """From `displacement` (unit coordinates) to the one that brings `moving` onto `fixed` best, on `fixed`'s grid.

    `iterations` coarsest level first; `window` of the local NCC, voxels. `part` names the stages as in `stages`; those
    in `finished` are not run again. Where `progress` says that the present state is kept, it is the result.
    """
    levels = len(iterations)
    if not levels:
        return displacement
    seen, targets, weights = Moving(levels_of(moving, levels)), levels_of(fixed, levels), levels_of(weight, levels)
    for level, stage in enumerate(_stage_names(part, levels)):
        if progress.kept():
            break
        found = finished.recall(stage, progress)
        if found is not None:
            displacement = found["displacement"].to(displacement.device)
            continue
        progress.begin(stage)
        similarity = losses.LocalInformation(targets[level], window, weights[level])
        displacement = fields.resize(displacement, fields.shape_of(targets[level]))
        warp = partial(seen.warp, level)
        sigmas = _sigmas(finest=level == levels - 1)
        displacement = _descend_level(similarity, warp, displacement, iterations[level], sigmas, progress)
        spent = progress.finish()
        if not progress.kept():
            finished.keep(stage, {"displacement": displacement}, spent, progress.departures)
        progress.preview(displacement.detach)
    return fields.resize(displacement, fields.shape_of(fixed))


def _sigmas(finest: bool) -> tuple[float, float]:
    """How far an update, and the field where there is contrast, are smoothed, voxels."""
    return (FINEST_UPDATE_SIGMA, FINEST_FIELD_SIGMA) if finest else (UPDATE_SIGMA, FIELD_SIGMA)


def contrast(similarity: losses.LocalNCC, warped: Tensor) -> Tensor:
    """How much more than noise either image shows in the window around a voxel: 0 to 1, `[1, 1, z, y, x]`.

    Either: a lesion that vanished is in the moving image alone. None where the images may not be compared: there,
    the edge of a field of view would pass for anatomy.
    """
    window = CONTRAST_WINDOW
    sums = [losses.variance_sum(image, losses.box_sum(image, window), window) for image in (similarity.fixed, warped)]
    variance = torch.maximum(*sums) / window**3
    return (variance / (variance + NOISE)).sqrt() * (similarity.weight > 0)


def _regularised(displacement: Tensor, share: Tensor, sigma: float) -> Tensor:
    """Smoothed with `sigma` where `share` is 1, with PLAIN_SIGMA where it is 0, and by both between."""
    return torch.lerp(unbent(displacement, PLAIN_SIGMA), unbent(displacement, sigma), share)


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
    share = contrast(similarity, warp(displacement))
    step, best, lowest, stuck = STEP, displacement, float("inf"), 0
    for iteration in range(1, iterations + 1):
        warped = warp(displacement).requires_grad_(True)
        loss = similarity(warped)
        (pull,) = torch.autograd.grad(loss, warped)
        value = float(loss.detach())
        if math.isfinite(value):
            progress.step(iteration, value, {"information": value})
        elif math.isinf(lowest):
            progress.verify(value)
        else:
            progress.depart(
                "The descent without network diverged; it went back to its best place and on in half steps."
            )
            stuck = PATIENCE - 1
        if value < lowest:
            best, lowest, stuck = displacement, value, 0
        else:
            stuck += 1
        if progress.kept():
            break
        progress.preview(best.detach)
        if iteration == iterations:
            break  # nothing would look at another step
        if stuck == PATIENCE:
            displacement, step, stuck = best, step / 2, 0
            if step < LEAST_STEP:
                break
            continue
        move = fields.from_voxels(_update(pull * image_gradient(warped.detach()), update_sigma, step))
        displacement = _regularised(fields.compose(displacement, move), share, field_sigma)
    return best


def image_gradient(image: Tensor) -> Tensor:
    """`[1, 1, z, y, x]` to `[1, 3, z, y, x]`, components (x, y, z), per voxel; the image goes on as its border.

    Central differences of fourth order. The derivative of trilinear interpolation, which autograd would take, jumps
    at every voxel of the moving image, and follows how far interpolation blurs noise from one place to the next.
    """
    slopes = []
    for axis in (4, 3, 2):
        ends = [2 if n == axis else 0 for n in (4, 4, 3, 3, 2, 2)]
        padded = F.pad(image, ends, mode="replicate")
        size = image.shape[axis]
        at = [padded.narrow(axis, shift, size) for shift in range(5)]
        slopes.append((8 * (at[3] - at[1]) - (at[4] - at[0])) / 12)
    return torch.cat(slopes, dim=1)


def _update(gradient: Tensor, sigma: float, longest: float) -> Tensor:
    """The smoothed way down, its longest vector of so many voxels; `gradient` per voxel, as the update."""
    smoothed = smooth(gradient, sigma)
    x, y, z = smoothed.unbind(1)  # on a CPU many times as fast as norm(dim=1)
    return smoothed * (-longest / (x * x + y * y + z * z).amax().sqrt().clamp_min(1e-20))
