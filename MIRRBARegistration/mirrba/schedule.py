"""The working resolution, the iterations that a device can finish, and their steps. Written down in docs/method.md."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .presets import Config

PAPER_ITERATIONS = 1000  # on every lower level (section 4.2)
PAPER_FINEST = 2000
PAPER_VOXELS = 200**3
PAPER_RATE = 1e-4
SHORT_RATE = 1e-3  # of few iterations, smaller steps leave much of the way undone
CPU_ITERATIONS = (300, 200, 100)  # lower levels, coarsest first
CPU_FINEST = 50
CPU_VOXELS = 400_000  # a network's iteration at the finest level then takes one to two seconds on two cores
CPU_VOXELS_DESCENT = 2_400_000  # where the finest grid is left to the descent without network
CPU_VOXELS_DEFORMABLE = 60_000  # 27 samplings per convolution
ROUNDING = 0.25  # mm
FINER = 0.75  # of the image's own spacing, for the descent without network: half a voxel is a third of a small lesion
WINDOW_SPACING = 6.0  # mm, of the grid whose voxels a descent's window counts
WIDEST = 25  # voxels that the window is widened to: sums over it take time, and a GPU's kernel unrolls them


def iterations_for(config: Config, device: str) -> tuple[int, ...]:
    """Per level, coarsest first: what the user set, else the paper's on a GPU and a short one on a CPU."""
    if config.iterations is not None:
        return config.iterations
    if device == "cpu":
        return (*CPU_ITERATIONS[: config.depth - 1], CPU_FINEST)
    return (*[PAPER_ITERATIONS] * (config.depth - 1), PAPER_FINEST)


def learning_rate_for(config: Config, iterations: Sequence[int]) -> float:
    """Adam's: what the user set, else the paper's, or a larger one where no level has as many iterations as there."""
    if config.learning_rate is not None:
        return config.learning_rate
    run = iterations[: config.stop_level]
    return PAPER_RATE if max(run, default=0) >= PAPER_ITERATIONS else SHORT_RATE


def window_for(config: Config, spacing_mm: float) -> int:
    """The descent's window in voxels of the working grid: on one finer than WINDOW_SPACING, as many mm as there.

    In fewer mm, less of what vanished shrinks (docs/performance.md).
    """
    return max(config.window, min(_odd(config.window * WINDOW_SPACING / spacing_mm), WIDEST))


def _odd(number: float) -> int:
    """The greatest odd number up to it."""
    return 2 * math.floor((number - 1) / 2) + 1


def voxel_limit(config: Config, device: str) -> int:
    return round(config.voxel_share * _device_voxels(config, device))


def _device_voxels(config: Config, device: str) -> int:
    if device != "cpu":
        return PAPER_VOXELS
    before_finest = config.stop_level is not None and config.stop_level < config.depth
    if config.stop_level == 0 or (before_finest and config.finish):
        return CPU_VOXELS_DESCENT
    return CPU_VOXELS_DEFORMABLE if config.deformable else CPU_VOXELS


def rounded_up(spacing_mm: float) -> float:
    return math.ceil(spacing_mm / ROUNDING) * ROUNDING


def spacing_for(config: Config, device: str, voxels_at: Callable[[float], int], native_mm: float) -> float:
    """Isotropic working spacing, mm: the user's; else the image's own finest, or FINER without a network, or coarser so
    that the grid holds no more voxels than the device's limit, in quarters of a millimetre. `voxels_at` counts the
    grid's for a spacing.
    """
    if config.spacing is not None:
        return config.spacing
    spacing = rounded_up(native_mm * (FINER if config.stop_level == 0 else 1.0))
    while voxels_at(spacing) > voxel_limit(config, device):
        spacing += ROUNDING
    return spacing
