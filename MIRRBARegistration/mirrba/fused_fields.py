"""Warping, composition and smoothing as Triton kernels, for a GPU; without gradients, of which descents need none.

In plain PyTorch each of a field's sums and products reads and writes the whole volume; here each takes one pass. Fields
and images are `[1, c, z, y, x]`, float32, contiguous.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import direct, fields
from .fused import blocks, compiled_once, first, programs


@triton.jit
def place_of(index, height, width):
    """Of a voxel: x, y and z."""
    return index % width, (index // width) % height, index // (width * height)


@triton.jit
def _reached(field, index, count, place, size, there, COMPONENT: tl.constexpr, inside):
    """Where along one axis a voxel's point lies in the image, voxels; that it lies within; the voxel below; the rest.

    `size` and `there`: voxels of the field's and of the image's axis, whose outer faces are the same.
    """
    unit = tl.load(field + COMPONENT * count + index, mask=inside, other=0.0)
    point = (place + 0.5) * (there / size) - 0.5 + unit * (there / 2.0)
    last = there - 1.0
    within = (point > 0) & (point < last)
    # not a number stays one: a run that diverges has to show
    point = tl.where(point < 0, 0.0, tl.where(point > last, last, point))
    below = tl.floor(point)
    below = tl.where((below >= 0) & (below <= last), below, 0.0)
    return within, below.to(tl.int32), point - below


@triton.jit
def cell_of(field, index, count, inside, depth, height, width, image_depth, image_height, image_width):
    """The cell of the image that a voxel's point lies in: whether it lies within, per axis; where between the corners;
    the first corner; the way from it to the next along each axis. Not in tuples: Triton 3.6 unpacks none in another.
    """
    x, y, z = place_of(index, height, width)
    in_x, x0, fx = _reached(field, index, count, x, width, image_width, 0, inside)
    in_y, y0, fy = _reached(field, index, count, y, height, image_height, 1, inside)
    in_z, z0, fz = _reached(field, index, count, z, depth, image_depth, 2, inside)
    right = tl.where(x0 + 1 < image_width, 1, 0)
    up = tl.where(y0 + 1 < image_height, image_width, 0)
    on = tl.where(z0 + 1 < image_depth, image_height * image_width, 0)
    base = (z0 * image_height + y0) * image_width + x0
    return in_x, in_y, in_z, fx, fy, fz, base, right, up, on


@compiled_once
def _warp(
    image,
    field,
    out,
    count,
    depth,
    height,
    width,
    image_count,
    image_depth,
    image_height,
    image_width,
    CHANNELS: tl.constexpr,
    COMPOSED: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDE: tl.constexpr,
):
    """`fields.warp`; COMPOSED: `fields.compose`, the image being the outer field."""
    index = first(BLOCK, WIDE) + tl.arange(0, BLOCK)
    inside = index < count
    _, _, _, fx, fy, fz, base, right, up, on = cell_of(
        field, index, count, inside, depth, height, width, image_depth, image_height, image_width
    )
    for channel in tl.static_range(CHANNELS):
        corner = image + channel * image_count + base
        a = tl.load(corner, mask=inside, other=0.0) * (1 - fx) + tl.load(corner + right, mask=inside, other=0.0) * fx
        b = tl.load(corner + up, mask=inside, other=0.0) * (1 - fx)
        b += tl.load(corner + up + right, mask=inside, other=0.0) * fx
        c = tl.load(corner + on, mask=inside, other=0.0) * (1 - fx)
        c += tl.load(corner + on + right, mask=inside, other=0.0) * fx
        d = tl.load(corner + on + up, mask=inside, other=0.0) * (1 - fx)
        d += tl.load(corner + on + up + right, mask=inside, other=0.0) * fx
        value = (a * (1 - fy) + b * fy) * (1 - fz) + (c * (1 - fy) + d * fy) * fz
        if COMPOSED:
            value += tl.load(field + channel * count + index, mask=inside, other=0.0)
        tl.store(out + channel * count + index, value, mask=inside)


@compiled_once
def _smooth(image, out, sigma, count, stride, size, RADIUS: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr):
    """The mean along one axis, weighted by a Gaussian, of the voxels that there are."""
    index = first(BLOCK, WIDE) + tl.arange(0, BLOCK)
    place = (index // stride) % size
    total = tl.zeros([BLOCK], tl.float32)
    mass = tl.zeros([BLOCK], tl.float32)
    for shift in tl.static_range(-RADIUS, RADIUS + 1):
        weight = tl.exp(-0.5 * (shift / sigma) * (shift / sigma))
        there = (index < count) & (place + shift >= 0) & (place + shift < size)
        total += weight * tl.load(image + index + shift * stride, mask=there, other=0.0)
        mass += tl.where(there, weight, 0.0)
    tl.store(out + index, total / mass, mask=index < count)


def warp(image: Tensor, displacement: Tensor) -> Tensor:
    """`fields.warp`."""
    return warped(image, displacement, composed=False)


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """`fields.compose`."""
    return warped(outer, inner, composed=True)


def warped(image: Tensor, field: Tensor, composed: bool) -> Tensor:
    image, field = image.contiguous(), field.contiguous()
    out = image.new_empty(1, image.shape[1], *field.shape[2:])
    _warp[programs(voxels(field))](image, field, out, *sizes(image, field), composed, *blocks(most(image, field)))
    return out


def smooth(field: Tensor, sigma: float) -> Tensor:
    """`direct.smooth`."""
    field = field.contiguous()
    count, radius = field.numel(), max(1, math.ceil(3 * sigma))
    for axis in (2, 3, 4):
        out = torch.empty_like(field)
        arguments = (sigma, count, field.stride(axis), field.shape[axis], radius, *blocks(count))
        _smooth[programs(count)](field, out, *arguments)
        field = out
    return field


def voxels(field: Tensor) -> int:
    return math.prod(field.shape[2:])


def most(*tensors: Tensor) -> int:
    return max(tensor.numel() for tensor in tensors)


def sizes(image: Tensor, field: Tensor) -> tuple[int, ...]:
    """From `count` to CHANNELS of `_warp`."""
    return voxels(field), *field.shape[2:], voxels(image), *image.shape[2:], image.shape[1]


def trial(device: torch.device) -> tuple[list[Tensor], list[Tensor]]:
    """What the kernels give on this device, and what plain PyTorch gives on a CPU."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 1, 9, 7, 11, generator=generator)
    field = 0.3 * torch.randn(1, 3, 9, 7, 11, generator=generator)
    here = [tensor.to(device) for tensor in (image, field)]
    found = [warp(*here), compose(here[1], here[1]), smooth(here[1], 1.2)]
    expected = [fields.warp(image, field), fields.compose(field, field), direct.smooth(field, 1.2)]
    return [tensor.cpu() for tensor in found], expected
