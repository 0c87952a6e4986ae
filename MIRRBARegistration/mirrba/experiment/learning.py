"""Networks that learn from the pairs of a cohort, one pair a step: DL VoxelMorph and DL LapIRN."""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import SimpleITK as sitk
import torch
from torch import Tensor, nn

from .. import fields, losses, optimize
from ..devices import bfloat16_is_sound
from ..errors import InputError, MirrbaError
from ..geometry import Geometry
from ..images import Prepared, body_box, working_grid, working_pair
from ..initialise import initial_transform
from ..network import Moving, Pyramid
from ..presets import Config, resolve
from ..pyramid import levels_of, multiple_of
from .voxelmorph import ENCODER, UNet

WINDOW = 9  # of VoxelMorph's NCC


@dataclass(frozen=True)
class Example:
    """A pair on a network's grid, `[1, 1, z, y, x]` each: intensities in [0, 1], weight 1 where both were scanned."""

    fixed: Tensor
    moving: Tensor
    weight: Tensor

    def to(self, device: torch.device) -> Example:
        return Example(self.fixed.to(device), self.moving.to(device), self.weight.to(device))


class Network(nn.Module, ABC):
    """Learns in stages. `mixed`: convolutions in bfloat16; fields and losses stay float32."""

    depth: int
    """Stages of the training."""
    multiple: int
    """What every side of the grid must divide by."""

    def __init__(self, config: Config, mixed: bool) -> None:
        super().__init__()
        self.config, self.mixed = config, mixed

    @abstractmethod
    def parameters_of(self, stage: int) -> list[nn.Parameter]:
        """What the stage (0 = first) trains."""

    @abstractmethod
    def loss(self, stage: int, example: Example, frozen: bool) -> Tensor:
        """`frozen`: the parts that earlier stages have trained stay as they are."""

    @abstractmethod
    def displacement(self, example: Example) -> Tensor:
        """Fixed to moving points, unit coordinates, `[1, 3, z, y, x]` on the example's grid."""


class LapIRN(Network):
    """MIRRBA's own pyramid and loss with both images as input; a level is trained after the one below."""

    depth = 3
    multiple = multiple_of(depth)

    def __init__(self, config: Config, mixed: bool) -> None:
        super().__init__(config, mixed)
        self.pyramid = Pyramid(config, mixed)

    def parameters_of(self, stage: int) -> list[nn.Parameter]:
        return [p for level in range(stage + 1) for p in self.pyramid.parameters_of(level)]

    def loss(self, stage: int, example: Example, frozen: bool) -> Tensor:
        fixed, moving = self._images(example)
        below = (optimize.lower if frozen else optimize.forward)(self.pyramid, stage, fixed, moving)
        state = self.pyramid.step(stage, below, moving, fixed[stage])
        displacement = fields.integrate(state.velocity)
        weight = levels_of(example.weight, self.depth)[stage]
        similarity = losses.MultiResolutionNCC(fixed[stage], stage + 1, weight)
        lncc = similarity(moving.warp(stage, displacement))
        return torch.stack(list(optimize.objective(state, displacement, lncc, self.config).values())).sum()

    def displacement(self, example: Example) -> Tensor:
        state = optimize.forward(self.pyramid, self.depth, *self._images(example))
        assert state is not None
        return fields.integrate(state.velocity)

    def _images(self, example: Example) -> tuple[list[Tensor], Moving]:
        return levels_of(example.fixed, self.depth), Moving(levels_of(example.moving, self.depth))


class VoxelMorph(Network):
    """The U-Net's velocity, on half the resolution as Dalca et al. 2019 integrate it; NCC and squared gradients."""

    depth = 1
    multiple = 2 ** len(ENCODER)

    def __init__(self, config: Config, mixed: bool) -> None:
        super().__init__(config, mixed)
        self.unet = UNet()

    def parameters_of(self, stage: int) -> list[nn.Parameter]:
        return list(self.unet.parameters())

    def loss(self, stage: int, example: Example, frozen: bool) -> Tensor:
        velocity = self._velocity(example)
        warped = fields.warp(example.moving, self._integrated(velocity, example))
        similarity = losses.LocalNCC(example.fixed, WINDOW, example.weight)
        # The penalty is of differences in voxels of the velocity's grid; `smoothness` counts half voxels.
        return similarity(warped) + self.config.smooth * losses.smoothness(velocity) / 4

    def displacement(self, example: Example) -> Tensor:
        return self._integrated(self._velocity(example), example)

    def _velocity(self, example: Example) -> Tensor:
        """Unit coordinates, on half the resolution."""
        images = torch.cat([example.moving, example.fixed], dim=1).contiguous(memory_format=torch.channels_last_3d)
        mixed = self.mixed and bfloat16_is_sound(images.shape[2] // self.multiple)
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=mixed):
            flow = self.unet(images)
        depth, height, width = fields.shape_of(flow)
        return fields.resize(fields.from_voxels(flow.float().contiguous()), (depth // 2, height // 2, width // 2))

    def _integrated(self, velocity: Tensor, example: Example) -> Tensor:
        return fields.resize(fields.integrate(velocity), fields.shape_of(example.fixed))


NETWORKS: dict[str, type[Network]] = {"lapirn": LapIRN, "voxelmorph": VoxelMorph}


def config_of(settings: Mapping[str, Any]) -> Config:
    """A trained method's settings as the engine's. Raises InputError for one that is out of its range."""
    own = {name: value for name, value in settings.items() if name != "network"}
    config = resolve("mirrba", depth=_kind(settings).depth, pair_input=True, **own)
    if config.spacing is None or config.iterations is None or config.learning_rate is None:
        raise InputError("A network that is trained needs its 'spacing', 'iterations' and 'learning_rate'; give all.")
    return config


def network_of(settings: Mapping[str, Any], mixed: bool) -> Network:
    """The untrained network of a method's settings. Raises InputError."""
    network = _kind(settings)(config_of(settings), mixed)
    return network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def _kind(settings: Mapping[str, Any]) -> type[Network]:
    if settings["network"] not in NETWORKS:
        raise InputError(f"There is no network '{settings['network']}'; choose one of: {', '.join(NETWORKS)}.")
    return NETWORKS[settings["network"]]


def example_of(
    fixed: sitk.Image, moving: sitk.Image, settings: Mapping[str, Any]
) -> tuple[Example, Geometry, sitk.Transform]:
    """A pair as the network of these settings sees it, its grid, and the transform applied to the moving volume.

    The same normalisation and the same box around both bodies as MIRRBA's (docs/method.md). Raises InputError.
    """
    config = config_of(settings)
    assert config.spacing is not None
    follow_up, baseline = Prepared.of(fixed, "fixed volume"), Prepared.of(moving, "moving volume")
    initial = initial_transform(config.init, follow_up, baseline)
    grid = working_grid(body_box(follow_up, baseline, initial), config.spacing, _kind(settings).multiple)
    pair = working_pair(follow_up, baseline, initial, grid)
    fixed_, moving_, weight = (torch.from_numpy(array)[None, None] for array in (pair.fixed, pair.moving, pair.weight))
    return Example(fixed_, moving_, weight), grid, initial


def train(
    network: Network,
    examples: Sequence[Example],
    seed: int,
    tell: Callable[[int, int, float], None] = lambda stage, step, loss: None,
) -> list[list[float]]:
    """The losses of each stage, step by step; `tell` gets stage (from 0), step (from 1) and loss.

    Raises MirrbaError where the training diverges.
    """
    device = next(network.parameters()).device
    order = _shuffled(len(examples), seed)
    history: list[list[float]] = []
    rate = network.config.learning_rate
    assert rate is not None
    for stage, count in enumerate(network.config.iterations or ()):
        optimizer = torch.optim.Adam(network.parameters_of(stage), lr=rate)
        frozen = round(network.config.freeze * count) if stage else 0
        history.append([])
        for step in range(1, count + 1):
            loss = network.loss(stage, examples[next(order)].to(device), step <= frozen)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            history[-1].append(_finite(loss, stage, step))
            tell(stage, step, history[-1][-1])
    return history


def _shuffled(count: int, seed: int) -> Iterator[int]:
    """Every number below `count` once, then all again in another order, without end."""
    chance = random.Random(seed)
    while True:
        yield from chance.sample(range(count), count)


def _finite(loss: Tensor, stage: int, step: int) -> float:
    value = float(loss.detach())
    if not math.isfinite(value):
        raise MirrbaError(
            f"The training diverged in stage {stage + 1} at step {step} (loss {value}); use a smaller learning_rate."
        )
    return value
