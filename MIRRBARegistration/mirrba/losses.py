"""The three terms of the objective: local NCC, smoothness, diffeomorphism (paper eq. 3 and 5).

All in float32: window sums lose their meaning in TF32 or bfloat16, so callers keep them outside autocast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from . import bands, fields, kernels

EPSILON = 1e-5  # as LapIRN
SLACK = 0.03  # of ρ² = 1, where the information of a window has no bound


def box_sum(image: Tensor, window: int) -> Tensor:
    """Sum over a cube of odd side `window` around each voxel of `[1, c, z, y, x]`, zero outside the volume.

    The zero-padded sum over a symmetric window is its own adjoint.
    """
    reach = window // 2
    matrices = [(bands.distances(size, image) <= reach).to(image.dtype) for size in fields.shape_of(image)]
    return bands.along_axes(image, matrices, reach)


def variance_sum(image: Tensor, sums: Tensor, window: int) -> Tensor:
    """Variance times count of the window around each voxel; `sums` are the image's own."""
    return (box_sum(image * image, window) - sums**2 / window**3).clamp_min_(0)


class LocalNCC:
    """Squared local cross-correlation with a fixed image, whose window sums are computed once.

    `__call__(warped)` is `-mean(weight · cross² / (var_fixed · var_warped + 1e-5))`, from 0 to -1. Images are
    `[1, 1, z, y, x]` with intensities near zero (see `images.normalise`); `weight` (same shape) says where the images
    may be compared.
    """

    slack: float | None = None

    def __init__(self, fixed: Tensor, window: int, weight: Tensor | None = None) -> None:
        self.window = window
        self.fixed = fixed.contiguous()
        self.sum_fixed = box_sum(self.fixed, window)
        self.var_fixed = variance_sum(self.fixed, self.sum_fixed, window)
        total = float(weight.sum()) if weight is not None else float(fixed.numel())
        self.weight = (torch.ones_like(fixed) if weight is None else weight.contiguous()) / (total or 1.0)

    def __call__(self, warped: Tensor) -> Tensor:
        return _LocalNCCFunction.apply(warped, self)  # type: ignore[no-untyped-call]


class LocalInformation(LocalNCC):
    """`½ mean(weight · log(1 - ρ² + SLACK))`, ρ a window's correlation: minus two Gaussians' mutual information, nats.

    The square levels off where edges nearly match. This pulls on there, so noise, whose ρ stays small, has less of a
    say beside them.
    """

    slack = SLACK


class _LocalNCCFunction(torch.autograd.Function):
    """The gradient is written out: it needs three box sums, where autograd would take five and keep every shift."""

    @staticmethod
    def forward(ctx: Any, warped: Tensor, ncc: LocalNCC) -> Tensor:
        way = way_on(warped.device)
        warped = warped.contiguous()
        value, by_sums = way.terms(ncc, warped)
        ctx.ncc, ctx.way = ncc, way
        ctx.save_for_backward(warped, by_sums)
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        warped, by_sums = ctx.saved_tensors
        summed = ctx.way.box_sum(by_sums, ctx.ncc.window)
        return gradient * (ctx.ncc.fixed * summed[:, 0:1] + 2 * warped * summed[:, 1:2] + summed[:, 2:3]), None


def terms(ncc: LocalNCC, warped: Tensor) -> tuple[Tensor, Tensor]:
    """The loss, and each voxel's derivative of it by the window sums: of fixed·warped, of warped², of warped.

    The latter `[1, 3, z, y, x]`. Its box sums are the derivatives by the voxels that go into the window sums.
    """
    n = ncc.window**3
    sum_warped = box_sum(warped, ncc.window)
    cross = box_sum(ncc.fixed * warped, ncc.window) - ncc.sum_fixed * sum_warped / n
    var_warped = variance_sum(warped, sum_warped, ncc.window)
    denominator = ncc.var_fixed * var_warped + EPSILON
    squared, pull = cross**2 / denominator, ncc.weight
    if ncc.slack is None:
        value = -(ncc.weight * squared).sum()
    else:
        unexplained = (1 - squared).clamp_min_(0) + ncc.slack
        value = (ncc.weight * unexplained.log()).sum() / 2
        pull = ncc.weight / (2 * unexplained)
    by_cross = -2 * pull * cross / denominator
    by_square = pull * squared * ncc.var_fixed / denominator
    by_sum = -(ncc.sum_fixed * by_cross + 2 * sum_warped * by_square) / n
    return value, torch.cat([by_cross, by_square, by_sum], dim=1)


class Way(NamedTuple):
    """How LNCC is computed."""

    terms: Callable[[LocalNCC, Tensor], tuple[Tensor, Tensor]]
    box_sum: Callable[[Tensor, int], Tensor]


def way_on(device: torch.device) -> Way:
    """By Triton kernels on a GPU where they work, else in plain PyTorch."""
    fused = kernels.working("fused", device)
    return Way(terms, box_sum) if fused is None else Way(fused.terms, fused.box_sum)


class MultiResolutionNCC:
    """Level i of the network compares at i scales: window 2i+1 at the finest and 2 less per coarser scale, weights
    1, 1/2, 1/4, … (LapIRN). Its optimum is therefore −1, −1.5, −1.75, …: λ weighs differently at each level.
    """

    def __init__(self, fixed: Tensor, level: int, weight: Tensor) -> None:
        self.terms = []
        for scale in range(level):
            self.terms.append((0.5**scale, LocalNCC(fixed, 2 * (level - scale) + 1, weight)))
            if scale < level - 1:
                fixed, weight = F.avg_pool3d(fixed, 2), F.avg_pool3d(weight, 2)

    def __call__(self, warped: Tensor) -> Tensor:
        total = warped.new_zeros(())
        for scale, (share, ncc) in enumerate(self.terms):
            if scale:
                warped = F.avg_pool3d(warped, 2)
            total = total + share * ncc(warped)
        return total


def smoothness(velocity: Tensor) -> Tensor:
    """R_smooth: mean squared forward difference of the velocity, in half voxels.

    LapIRN scales unit coordinates by the number of voxels, which is twice a voxel displacement; the paper's
    λ_smooth = 0.1 belongs to that scale, so it is kept.
    """
    fused = kernels.working("fused_gradients", velocity.device)
    if fused is not None:
        found: Tensor = fused.smoothness(velocity)
        return found
    scaled = 2 * fields.to_voxels(velocity)
    total = velocity.new_zeros(())
    for axis in (2, 3, 4):
        total = total + scaled.diff(dim=axis).square().mean()
    return total / 3


def folding(displacement: Tensor) -> Tensor:
    """R_diffeo: mean of relu(−det J), zero where the map keeps its orientation everywhere."""
    fused = kernels.working("fused_gradients", displacement.device)
    if fused is not None:
        found: Tensor = fused.folding(displacement)
        return found
    return F.relu(-fields.jacobian_determinant(fields.to_voxels(displacement))).mean()
