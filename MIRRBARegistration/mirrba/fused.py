"""LNCC's window sums and the arithmetic between them as Triton kernels, for a GPU.

In plain PyTorch every shift of a window and every product reads and writes the whole volume; here an axis takes one
pass, and what lies between the sums another. Volumes are `[1, c, z, y, x]`, float32, contiguous.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import losses

BLOCK = 1024  # voxels a program
COUNTED = 2**30  # voxels that 32 bits count, a shift beyond the last included

# Left alone, Triton compiles a kernel again where a size is 1 or divides by 16 and the one before did not, as those of
# a pyramid's levels do, while the user waits.
_SIZES = ("count", "stride", "size", "depth", "height", "width")
compiled_once = triton.jit(do_not_specialize=[*_SIZES, *(f"image_{name}" for name in _SIZES)])


@triton.jit
def first(BLOCK: tl.constexpr, WIDE: tl.constexpr):
    """The program's first voxel; in 64 bits, whose divisions are slow, only where 32 do not count so far."""
    program = tl.program_id(0)
    if WIDE:
        program = program.to(tl.int64)
    return program * BLOCK


@compiled_once
def _sums(image, out, count, stride, size, RADIUS: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr):
    """Along one axis, which has `size` voxels `stride` apart; zero beyond its ends."""
    index = first(BLOCK, WIDE) + tl.arange(0, BLOCK)
    place = (index // stride) % size
    total = tl.zeros([BLOCK], tl.float32)
    for shift in tl.static_range(-RADIUS, RADIUS + 1):
        there = (index < count) & (place + shift >= 0) & (place + shift < size)
        total += tl.load(image + index + shift * stride, mask=there, other=0.0)
    tl.store(out + index, total, mask=index < count)


@compiled_once
def _product_sums(
    fixed, warped, out, count, stride, size, RADIUS: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr
):
    """As `_sums`, of warped, warped² and fixed·warped: three volumes of `count` voxels."""
    index = first(BLOCK, WIDE) + tl.arange(0, BLOCK)
    place = (index // stride) % size
    values = tl.zeros([BLOCK], tl.float32)
    squares = tl.zeros([BLOCK], tl.float32)
    products = tl.zeros([BLOCK], tl.float32)
    for shift in tl.static_range(-RADIUS, RADIUS + 1):
        there = (index < count) & (place + shift >= 0) & (place + shift < size)
        w = tl.load(warped + index + shift * stride, mask=there, other=0.0)
        f = tl.load(fixed + index + shift * stride, mask=there, other=0.0)
        values += w
        squares += w * w
        products += f * w
    tl.store(out + index, values, mask=index < count)
    tl.store(out + count + index, squares, mask=index < count)
    tl.store(out + 2 * count + index, products, mask=index < count)


@compiled_once
def _terms(
    sums,
    sum_fixed,
    var_fixed,
    weight,
    value,
    out,
    count,
    volume,
    EPSILON: tl.constexpr,
    SLACK: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Each voxel's part of the loss, and its derivatives by the three window sums as `losses.terms` has them."""
    index = first(BLOCK, WIDE) + tl.arange(0, BLOCK)
    inside = index < count
    sum_warped = tl.load(sums + index, mask=inside, other=0.0)
    square = tl.load(sums + count + index, mask=inside, other=0.0)
    product = tl.load(sums + 2 * count + index, mask=inside, other=0.0)
    f = tl.load(sum_fixed + index, mask=inside, other=0.0)
    v = tl.load(var_fixed + index, mask=inside, other=0.0)
    w = tl.load(weight + index, mask=inside, other=0.0)
    cross = product - f * sum_warped / volume
    var_warped = tl.maximum(square - sum_warped * sum_warped / volume, 0.0, propagate_nan=tl.PropagateNan.ALL)
    denominator = v * var_warped + EPSILON
    squared = cross * cross / denominator
    if SLACK is None:
        part = -w * squared
    else:
        unexplained = tl.maximum(1 - squared, 0.0, propagate_nan=tl.PropagateNan.ALL) + SLACK
        part = w * tl.log(unexplained) / 2
        w = w / (2 * unexplained)
    by_cross = -2 * w * cross / denominator
    by_square = w * squared * v / denominator
    tl.store(value + index, part, mask=inside)
    tl.store(out + index, by_cross, mask=inside)
    tl.store(out + count + index, by_square, mask=inside)
    tl.store(out + 2 * count + index, -(f * by_cross + 2 * sum_warped * by_square) / volume, mask=inside)


def box_sum(image: Tensor, window: int) -> Tensor:
    """`losses.box_sum`."""
    for axis in (4, 3, 2):
        image = _along(image, window, axis)
    return image


def terms(ncc: losses.LocalNCC, warped: Tensor) -> tuple[Tensor, Tensor]:
    """`losses.terms`."""
    count, shape = warped.numel(), warped.shape[2:]
    sums = warped.new_empty(1, 3, *shape)
    depth, stride = shape[0], shape[1] * shape[2]
    _product_sums[programs(count)](ncc.fixed, warped, sums, count, stride, depth, ncc.window // 2, *blocks(count))
    sums = _along(_along(sums, ncc.window, 3), ncc.window, 4)
    value, out = torch.empty_like(warped), torch.empty_like(sums)
    volume = float(ncc.window**3)
    fixed = (ncc.sum_fixed, ncc.var_fixed, ncc.weight)
    _terms[programs(count)](sums, *fixed, value, out, count, volume, losses.EPSILON, ncc.slack, *blocks(count))
    return value.sum(), out


def _along(image: Tensor, window: int, axis: int) -> Tensor:
    out = torch.empty_like(image)
    arguments = (image.numel(), image.stride(axis), image.shape[axis], window // 2, *blocks(image.numel()))
    _sums[programs(image.numel())](image, out, *arguments)
    return out


def programs(count: int) -> tuple[int]:
    return (triton.cdiv(count, BLOCK),)


def blocks(count: int) -> tuple[int, bool]:
    """BLOCK and WIDE of a kernel for so many voxels."""
    return BLOCK, count >= COUNTED


def trial(device: torch.device) -> tuple[list[Tensor], list[Tensor]]:
    """What the kernels give on this device, and what plain PyTorch gives there."""
    fixed, warped, weight = torch.rand(3, 1, 1, 13, 11, 17, device=device)
    kinds = [kind(fixed, 5, weight) for kind in (losses.LocalNCC, losses.LocalInformation)]
    found = [box_sum(warped, 5), *(part for ncc in kinds for part in terms(ncc, warped))]
    return found, [losses.box_sum(warped, 5), *(part for ncc in kinds for part in losses.terms(ncc, warped))]
