"""The LapIRN pyramid (Mok and Chung 2020) as MIRRBA uses it, and the velocity without architecture.

Both give the velocity of a level from that of the level below, so the optimisation does not know which it drives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from . import fields
from .deformable import DeformableConv3d
from .devices import bfloat16_is_sound
from .fields import Shape
from .presets import Config

CHANNELS = 28
BLOCKS = 5
SLOPE = 0.2
RANGE = 0.4  # of the unit velocity that one level can add
NOISE = 1e-3  # standard deviation of the free velocity's start (section 4.3)
FULL = 16  # channels that matrix units take at once
TOO_SMALL = 20480  # numbers, up to which PyTorch hands no volume to oneDNN
HEAD_START = 1e-5  # a level must start as no change, not as a random residual of a voxel or two


class Conv(nn.Conv3d):
    """3×3×3 without bias. Where the input has channels that the weight does not know, both are filled up (`filled`).

    The input is `parts` images of features side by side, each filled by itself.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, parts: int = 1) -> None:
        super().__init__(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.parts = parts

    def forward(self, features: Tensor) -> Tensor:
        weight = self.weight
        if features.shape[1] != weight.shape[1]:
            weight = filled(filled(weight.unflatten(1, (self.parts, -1)), 2).flatten(1, 2), 0)
        if _is_slow(features):
            return by_slices(features, weight, self.stride[0])
        return F.conv3d(features, weight, stride=self.stride, padding=self.padding)


def _is_slow(features: Tensor) -> bool:
    """Whether PyTorch would convolve `[1, c, z, y, x]` by itself, in several times the time that oneDNN takes for it:
    on a CPU, in float32, where channels, z and y multiply to so little. With a channel or two, slices gain nothing.
    """
    count, channels, depth, height = features.shape[:4]
    few = count == 1 and channels > 2 and channels * depth * height <= TOO_SMALL
    on_cpu = features.device.type == "cpu" and torch.backends.mkldnn.is_available()
    return few and on_cpu and features.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")


def by_slices(features: Tensor, weight: Tensor, stride: int) -> Tensor:
    """`F.conv3d` of `[1, c, z, y, x]` with 3×3×3 and a padding of one, as the sum of three 2-D convolutions: of every
    slice, and of the two beside it.
    """
    depth = features.shape[2]
    slices = F.pad(features, (0, 0, 0, 0, 1, 1))[0].transpose(0, 1)
    below, at, above = (
        F.conv2d(slices[k : k + depth : stride], weight[:, :, k], stride=stride, padding=1) for k in range(3)
    )
    return (below + at + above).transpose(0, 1)[None]


class TransposedConv(nn.ConvTranspose3d):
    """2×2×2, stride 2, without bias; fills up as `Conv` does."""

    def __init__(self) -> None:
        super().__init__(CHANNELS, CHANNELS, 2, stride=2, bias=False)

    def forward(self, features: Tensor, output_size: list[int] | None = None) -> Tensor:
        weight = self.weight
        if features.shape[1] != weight.shape[0]:
            weight = filled(filled(weight, 0), 1)
        return F.conv_transpose3d(features, weight, stride=self.stride)


def filled(tensor: Tensor, dim: int) -> Tensor:
    """With zeros to a multiple of FULL channels.

    A GPU's matrix units take so many at once; others are copied into such tensors before each convolution and out of
    them after it, which takes as long as the convolution. Channels of zeros stay zeros, and change no other.
    """
    missing = -tensor.shape[dim] % FULL
    return F.pad(tensor, (0, 0) * (tensor.dim() - 1 - dim) + (0, missing)) if missing else tensor


def _conv(inputs: int, outputs: int, deformable: bool, stride: int = 1, parts: int = 1) -> nn.Module:
    if deformable and stride == 1:
        return DeformableConv3d(inputs, outputs)
    return Conv(inputs, outputs, stride, parts)


def _activation() -> nn.Module:
    """In place, behind a convolution: its output is needed for nothing else, nor for a gradient."""
    return nn.LeakyReLU(SLOPE, inplace=True)


class ResidualBlock(nn.Module):
    """lrelu, conv, lrelu, conv, plus the raw input (left out for "wo RB")."""

    def __init__(self, residual: bool, deformable: bool) -> None:
        super().__init__()
        self.residual = residual
        self.first = _conv(CHANNELS, CHANNELS, deformable)
        self.second = _conv(CHANNELS, CHANNELS, deformable)

    def forward(self, features: Tensor) -> Tensor:
        out = self.second(F.leaky_relu(self.first(F.leaky_relu(features, SLOPE)), SLOPE, inplace=True))
        return out + features if self.residual else out


def _kept(part: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    return part(*inputs)


_recomputed = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)  # nothing here is random


class Level(nn.Module):
    """One level: encoder, down, residual blocks, up, head. No bias, no normalisation.

    `recompute`: what the backward pass needs of the parts' insides is computed again there instead of kept.
    """

    def __init__(self, inputs: int, config: Config, deformable: bool, recompute: bool = False) -> None:
        super().__init__()
        self.recompute = recompute
        self.encoder = nn.Sequential(
            _conv(inputs, CHANNELS, deformable), _activation(), _conv(CHANNELS, CHANNELS, deformable)
        )
        self.down = nn.MaxPool3d(2) if config.down == "max" else _conv(CHANNELS, CHANNELS, deformable, stride=2)
        self.blocks = nn.ModuleList([ResidualBlock(config.residual, deformable) for _ in range(BLOCKS)])
        self.up = (
            nn.Upsample(scale_factor=2, mode="trilinear", align_corners=False)
            if config.up == "linear"
            else TransposedConv()
        )
        last = Conv(CHANNELS, 3)
        nn.init.normal_(last.weight, std=HEAD_START)
        self.head = nn.Sequential(_conv(2 * CHANNELS, CHANNELS, deformable, parts=2), _activation(), last)

    def forward(self, inputs: Tensor, embedding: Tensor | None) -> tuple[Tensor, Tensor]:
        """Inputs `[1, c, z, y, x]` and the embedding of the level below → velocity to add, embedding for above."""
        run = _recomputed if self.recompute else _kept
        encoded = run(self.encoder, inputs)
        features = self.down(encoded)
        if embedding is not None:
            features = features + embedding
        for block in self.blocks:
            features = F.leaky_relu(run(block, features), SLOPE, inplace=True)
        features = self.up(features)
        return RANGE * run(self._velocity, features, encoded), features

    def _velocity(self, features: Tensor, encoded: Tensor) -> Tensor:
        return F.softsign(self.head(torch.cat([features, encoded], dim=1))[:, :3])


class Moving:
    """The moving image's pyramid, seen through a start field if there is one."""

    def __init__(self, levels: Sequence[Tensor], start: Tensor | None = None) -> None:
        self.start = None if start is None else [fields.resize(start, fields.shape_of(image)) for image in levels]
        self.levels = levels

    def through_start(self, level: int, displacement: Tensor) -> Tensor:
        """The displacement of p → start(p + u(p)) on the level's grid."""
        return displacement if self.start is None else fields.compose(self.start[level], displacement)

    def warp(self, level: int, displacement: Tensor) -> Tensor:
        """The level's image at start(p + u(p)): one interpolation of the intensities, whatever the start."""
        return fields.warp(self.levels[level], self.through_start(level, displacement))


class State:
    """What a level hands to the one above."""

    def __init__(self, velocity: Tensor, embedding: Tensor | None) -> None:
        self.velocity = velocity
        self.embedding = embedding

    def detach(self) -> State:
        return State(self.velocity.detach(), None if self.embedding is None else self.embedding.detach())


class Pyramid(nn.Module):
    """Levels coarsest first. `mixed`: run the convolutions in bfloat16; fields stay float32. `recompute`: see Level."""

    def __init__(self, config: Config, mixed: bool, recompute: bool = False) -> None:
        super().__init__()
        self.pair, self.mixed = config.pair_input, mixed
        self.fill = mixed and not config.deformable  # deformable convolutions sample in float32, and know no filling
        images = 2 if config.pair_input else 1
        self.levels = nn.ModuleList(
            [
                Level(images if k == 0 else images + 3, config, config.deformable and k == config.depth - 1, recompute)
                for k in range(config.depth)
            ]
        )

    def step(self, level: int, below: State | None, moving: Moving, fixed: Tensor) -> State:
        """Level `level` (0 = coarsest) on what has been warped so far."""
        shape = fields.shape_of(fixed)
        if below is None:
            base, parts = fields.zeros(shape, fixed.device), []
            warped = moving.warp(level, base)
        else:
            base = fields.resize(below.velocity, shape)
            warped = moving.warp(level, fields.resize(fields.integrate(below.velocity), shape))
            parts = [base]
        mixed = self.mixed and bfloat16_is_sound(shape[0] // 2)  # "down" halves them
        kind = torch.bfloat16 if mixed and self.fill else torch.float32
        inputs = torch.cat([part.to(kind) for part in (warped, *([fixed] if self.pair else []), *parts)], dim=1)
        if self.fill and inputs.is_cuda:
            inputs = filled(inputs, 1)
        inputs = inputs.contiguous(memory_format=torch.channels_last_3d)
        with torch.autocast(fixed.device.type, dtype=torch.bfloat16, enabled=mixed):
            added, embedding = self.levels[level](inputs, None if below is None else below.embedding)
        return State(base + added.float().contiguous(), embedding)

    def parameters_of(self, level: int) -> list[nn.Parameter]:
        return list(self.levels[level].parameters())


class FreeVelocity(nn.Module):
    """ "wo Archi": each level's velocity residual is itself what is optimised, starting from N(0, 0.001)."""

    def __init__(self, shapes: Sequence[Shape]) -> None:
        super().__init__()
        self.levels = nn.ParameterList([nn.Parameter(NOISE * torch.randn(1, 3, *shape)) for shape in shapes])

    def step(self, level: int, below: State | None, moving: Moving, fixed: Tensor) -> State:
        velocity: Tensor = self.levels[level]
        if below is not None:
            velocity = velocity + fields.resize(below.velocity, fields.shape_of(fixed))
        return State(velocity, None)

    def parameters_of(self, level: int) -> list[nn.Parameter]:
        return [self.levels[level]]
