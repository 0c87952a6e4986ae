"""Warping, composition and the terms on the field as Triton kernels with gradients: what a network on a GPU needs.

In plain PyTorch each of a field's sums and products reads and writes the whole volume, and the gradient does so again;
here each takes one pass. Fields and images are `[1, c, z, y, x]`, float32, contiguous.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import fields, losses
from .fused import blocks, compiled_once, first, programs
from .fused_fields import cell_of, most, place_of, sizes, voxels, warped


@compiled_once
def _warp_back(
    image,
    field,
    gradient,
    by_image,
    by_field,
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
    OF_IMAGE: tl.constexpr,
    OF_FIELD: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDE: tl.constexpr,
):
    """The gradient of `_warp` by the image, added to `by_image` (OF_IMAGE), and by the field (OF_FIELD)."""
    index = first(BLOCK, WIDE) + tl.arange(0, BLOCK)
    inside = index < count
    in_x, in_y, in_z, fx, fy, fz, base, right, up, on = cell_of(
        field, index, count, inside, depth, height, width, image_depth, image_height, image_width
    )
    gx, gy, gz = 1 - fx, 1 - fy, 1 - fz
    by_x = tl.zeros([BLOCK], tl.float32)
    by_y = tl.zeros([BLOCK], tl.float32)
    by_z = tl.zeros([BLOCK], tl.float32)
    for channel in tl.static_range(CHANNELS):
        pull = tl.load(gradient + channel * count + index, mask=inside, other=0.0)
        if OF_FIELD:
            corner = image + channel * image_count + base
            a = tl.load(corner, mask=inside, other=0.0)
            b = tl.load(corner + right, mask=inside, other=0.0)
            c = tl.load(corner + up, mask=inside, other=0.0)
            d = tl.load(corner + up + right, mask=inside, other=0.0)
            e = tl.load(corner + on, mask=inside, other=0.0)
            f = tl.load(corner + on + right, mask=inside, other=0.0)
            g = tl.load(corner + on + up, mask=inside, other=0.0)
            h = tl.load(corner + on + up + right, mask=inside, other=0.0)
            by_x += pull * (((b - a) * gy + (d - c) * fy) * gz + ((f - e) * gy + (h - g) * fy) * fz)
            low, high = (c - a) * gx + (d - b) * fx, (g - e) * gx + (h - f) * fx
            by_y += pull * (low * gz + high * fz)
            by_z += pull * (((e - a) * gx + (f - b) * fx) * gy + ((g - c) * gx + (h - d) * fx) * fy)
        if OF_IMAGE:
            target = by_image + channel * image_count + base
            tl.atomic_add(target, pull * gx * gy * gz, mask=inside, sem="relaxed")
            tl.atomic_add(target + right, pull * fx * gy * gz, mask=inside, sem="relaxed")
            tl.atomic_add(target + up, pull * gx * fy * gz, mask=inside, sem="relaxed")
            tl.atomic_add(target + up + right, pull * fx * fy * gz, mask=inside, sem="relaxed")
            tl.atomic_add(target + on, pull * gx * gy * fz, mask=inside, sem="relaxed")
            tl.atomic_add(target + on + right, pull * fx * gy * fz, mask=inside, sem="relaxed")
            tl.atomic_add(target + on + up, pull * gx * fy * fz, mask=inside, sem="relaxed")
            tl.atomic_add(target + on + up + right, pull * fx * fy * fz, mask=inside, sem="relaxed")
    if OF_FIELD:
        by_x = tl.where(in_x, by_x, 0.0) * (image_width / 2.0)
        by_y = tl.where(in_y, by_y, 0.0) * (image_height / 2.0)
        by_z = tl.where(in_z, by_z, 0.0) * (image_depth / 2.0)
        if COMPOSED:
            by_x += tl.load(gradient + index, mask=inside, other=0.0)
            by_y += tl.load(gradient + count + index, mask=inside, other=0.0)
            by_z += tl.load(gradient + 2 * count + index, mask=inside, other=0.0)
        tl.store(by_field + index, by_x, mask=inside)
        tl.store(by_field + count + index, by_y, mask=inside)
        tl.store(by_field + 2 * count + index, by_z, mask=inside)


@compiled_once
def _smoothness(field, parts, count, depth, height, width, BLOCK: tl.constexpr, WIDE: tl.constexpr):
    """Each program's part of `losses.smoothness`."""
    index = first(BLOCK, WIDE) + tl.arange(0, BLOCK)
    inside = index < count
    x, y, z = place_of(index, height, width)
    total = tl.zeros([BLOCK], tl.float32)
    for component in tl.static_range(3):
        scale = width if component == 0 else (height if component == 1 else depth)
        here = field + component * count + index
        value = tl.load(here, mask=inside, other=0.0)
        for axis in tl.static_range(3):
            place = x if axis == 0 else (y if axis == 1 else z)
            size = width if axis == 0 else (height if axis == 1 else depth)
            stride = 1 if axis == 0 else (width if axis == 1 else width * height)
            there = inside & (place < size - 1)
            change = tl.where(there, scale * (tl.load(here + stride, mask=there, other=0.0) - value), 0.0)
            total += change * change * (size / (9.0 * count * (size - 1)))
    tl.store(parts + tl.program_id(0), tl.sum(total))


@compiled_once
def _smoothness_back(field, gradient, out, count, depth, height, width, BLOCK: tl.constexpr, WIDE: tl.constexpr):
    index = first(BLOCK, WIDE) + tl.arange(0, BLOCK)
    inside = index < count
    x, y, z = place_of(index, height, width)
    pull = tl.load(gradient)
    for component in tl.static_range(3):
        scale = width if component == 0 else (height if component == 1 else depth)
        here = field + component * count + index
        value = tl.load(here, mask=inside, other=0.0)
        total = tl.zeros([BLOCK], tl.float32)
        for axis in tl.static_range(3):
            place = x if axis == 0 else (y if axis == 1 else z)
            size = width if axis == 0 else (height if axis == 1 else depth)
            stride = 1 if axis == 0 else (width if axis == 1 else width * height)
            after, before = inside & (place < size - 1), inside & (place > 0)
            change = tl.where(before, value - tl.load(here - stride, mask=before, other=0.0), 0.0)
            change -= tl.where(after, tl.load(here + stride, mask=after, other=0.0) - value, 0.0)
            total += change * (size / (9.0 * count * (size - 1)))
        tl.store(out + component * count + index, 2.0 * scale * scale * pull * total, mask=inside)


@triton.jit
def _slopes(field, index, count, there, stride, depth, height, width):
    """The change of the three components to the next voxel along an axis, in voxels."""
    dx = tl.load(field + index + stride, mask=there, other=0.0) - tl.load(field + index, mask=there, other=0.0)
    field += count
    dy = tl.load(field + index + stride, mask=there, other=0.0) - tl.load(field + index, mask=there, other=0.0)
    field += count
    dz = tl.load(field + index + stride, mask=there, other=0.0) - tl.load(field + index, mask=there, other=0.0)
    return dx * (width / 2.0), dy * (height / 2.0), dz * (depth / 2.0)


@triton.jit
def _jacobian(field, index, count, there, depth, height, width):
    """Its nine numbers, row by row (the component changes along a row), where the next voxels are `there`."""
    a, b, c = _slopes(field, index, count, there, 1, depth, height, width)
    d, e, f = _slopes(field, index, count, there, width, depth, height, width)
    g, h, i = _slopes(field, index, count, there, width * height, depth, height, width)
    return a + 1, b, c, d, e + 1, f, g, h, i + 1


@compiled_once
def _folding(field, parts, count, depth, height, width, BLOCK: tl.constexpr, WIDE: tl.constexpr):
    """Each program's part of `losses.folding`."""
    index = first(BLOCK, WIDE) + tl.arange(0, BLOCK)
    x, y, z = place_of(index, height, width)
    there = (index < count) & (x < width - 1) & (y < height - 1) & (z < depth - 1)
    a, b, c, d, e, f, g, h, i = _jacobian(field, index, count, there, depth, height, width)
    determinant = a * (e * i - f * h) + b * (f * g - d * i) + c * (d * h - e * g)
    # not "where it is negative": what is not a number has to show
    part = tl.where(there & ~(determinant >= 0), -determinant, 0.0)
    tl.store(parts + tl.program_id(0), tl.sum(part) / ((width - 1.0) * (height - 1.0) * (depth - 1.0)))


@triton.jit
def _pull_slopes(out, index, count, folded, stride, by_x, by_y, by_z):
    """Add a gradient by `_slopes` to that by the field."""
    tl.atomic_add(out + index + stride, by_x, mask=folded, sem="relaxed")
    tl.atomic_add(out + index, -by_x, mask=folded, sem="relaxed")
    out += count
    tl.atomic_add(out + index + stride, by_y, mask=folded, sem="relaxed")
    tl.atomic_add(out + index, -by_y, mask=folded, sem="relaxed")
    out += count
    tl.atomic_add(out + index + stride, by_z, mask=folded, sem="relaxed")
    tl.atomic_add(out + index, -by_z, mask=folded, sem="relaxed")


@compiled_once
def _folding_back(field, gradient, out, count, depth, height, width, BLOCK: tl.constexpr, WIDE: tl.constexpr):
    """Added to `out`, where the map folds: in few voxels, if any."""
    index = first(BLOCK, WIDE) + tl.arange(0, BLOCK)
    x, y, z = place_of(index, height, width)
    there = (index < count) & (x < width - 1) & (y < height - 1) & (z < depth - 1)
    a, b, c, d, e, f, g, h, i = _jacobian(field, index, count, there, depth, height, width)
    folded = there & (a * (e * i - f * h) + b * (f * g - d * i) + c * (d * h - e * g) < 0)
    pull = -tl.load(gradient) / ((width - 1.0) * (height - 1.0) * (depth - 1.0))
    by_x, by_y, by_z = pull * (width / 2.0), pull * (height / 2.0), pull * (depth / 2.0)
    _pull_slopes(out, index, count, folded, 1, by_x * (e * i - f * h), by_y * (f * g - d * i), by_z * (d * h - e * g))
    _pull_slopes(
        out, index, count, folded, width, by_x * (c * h - b * i), by_y * (a * i - c * g), by_z * (b * g - a * h)
    )
    _pull_slopes(
        out,
        index,
        count,
        folded,
        width * height,
        by_x * (b * f - c * e),
        by_y * (c * d - a * f),
        by_z * (a * e - b * d),
    )


class _Warped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, field: Tensor, composed: bool) -> Tensor:
        image, field = image.contiguous(), field.contiguous()
        ctx.save_for_backward(image, field)
        ctx.composed = composed
        return warped(image, field, composed)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        image, field = ctx.saved_tensors
        of_image, of_field, _ = ctx.needs_input_grad
        by_image = torch.zeros_like(image) if of_image else None
        by_field = torch.empty_like(field) if of_field else None
        outs = (gradient if by_image is None else by_image, gradient if by_field is None else by_field)
        flags = (ctx.composed, of_image, of_field, *blocks(most(image, field)))
        _warp_back[programs(voxels(field))](image, field, gradient.contiguous(), *outs, *sizes(image, field), *flags)
        return by_image, by_field, None


def warp(image: Tensor, displacement: Tensor) -> Tensor:
    """`fields.warp`."""
    return _Warped.apply(image, displacement, False)


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """`fields.compose`."""
    return _Warped.apply(outer, inner, True)


class _Smoothness(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, velocity: Tensor) -> Tensor:
        velocity = velocity.contiguous()
        ctx.save_for_backward(velocity)
        return _total(_smoothness, velocity)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (velocity,) = ctx.saved_tensors
        out, count = torch.empty_like(velocity), voxels(velocity)
        _smoothness_back[programs(count)](velocity, gradient, out, count, *velocity.shape[2:], *blocks(3 * count))
        return out


class _Folding(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, displacement: Tensor) -> Tensor:
        displacement = displacement.contiguous()
        ctx.save_for_backward(displacement)
        return _total(_folding, displacement)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (displacement,) = ctx.saved_tensors
        out, count = torch.zeros_like(displacement), voxels(displacement)
        _folding_back[programs(count)](displacement, gradient, out, count, *displacement.shape[2:], *blocks(3 * count))
        return out


def _total(kernel: Any, field: Tensor) -> Tensor:
    """The sum of the programs' parts."""
    count = voxels(field)
    parts = field.new_empty(programs(count))
    kernel[programs(count)](field, parts, count, *field.shape[2:], *blocks(3 * count))
    return parts.sum()


def smoothness(velocity: Tensor) -> Tensor:
    """`losses.smoothness`."""
    return _Smoothness.apply(velocity)


def folding(displacement: Tensor) -> Tensor:
    """`losses.folding`."""
    return _Folding.apply(displacement)


def trial(device: torch.device) -> tuple[list[Tensor], list[Tensor]]:
    """What the kernels give on this device, and what plain PyTorch gives on a CPU."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 1, 9, 7, 11, generator=generator)
    field = 0.3 * torch.randn(1, 3, 9, 7, 11, generator=generator)
    ours, plain = (warp, compose, smoothness, folding), (fields.warp, fields.compose, losses.smoothness, losses.folding)
    return _results(ours, image.to(device), field.to(device)), _results(plain, image, field)


def _results(ways: Sequence[Callable[..., Tensor]], image: Tensor, field: Tensor) -> list[Tensor]:
    """Values and gradients, on the CPU."""
    warp, compose, smoothness, folding = ways
    image, field = image.requires_grad_(True), field.requires_grad_(True)
    with torch.enable_grad():  # the first who asks may be without
        values = [warp(image, field), compose(field, field), smoothness(field), folding(field)]
        total = torch.stack([value.square().sum() for value in values]).sum()
        gradients = torch.autograd.grad(total, (image, field))
    return [part.detach().cpu() for part in (*values, *gradients)]
