"""What a registration is configured by, and the presets. A preset is data: one dataclass, one table."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Any

from .errors import InputError


@dataclass(frozen=True)
class Config:
    """One registration's settings. Section and equation numbers are those of Fourcade et al. 2022."""

    preset: str = "default"
    device: str = "auto"
    seed: int = 0
    spacing: float | None = None
    """Working grid, mm; None: chosen for the device (docs/method.md)."""
    voxel_share: float = 1.0
    """Of the voxels that the device is given; where `spacing` is set, it says nothing."""
    init: str = "none"
    """none, centre, rigid, affine, or the path of a transform file (fixed→moving points)."""
    start: tuple[int, ...] = ()
    """Iterations of the direct start, coarsest level first, the last of each without a step; empty: no start, as the
    paper."""

    finish: tuple[int, ...] = ()
    """Iterations of the same descent after the network, on the finest levels; empty: none, as the paper. It goes on
    from what of the field the coarsest of them can hold: only one level keeps all that the finest grid's network found.
    """
    window: int = 7
    """Of the local NCC in these descents, voxels of 6 mm or more; on a finer grid as many mm."""

    architecture: bool = True
    """False: the velocity field itself is optimised ("wo Archi")."""
    pair_input: bool = False
    """The network sees the moving image only (section 3.3), or moving and fixed as LapIRN."""
    depth: int = 3
    """Levels of the pyramid, 1 to 4."""
    stop_level: int | None = None
    """Stop after this level; None: after the last. 0: no network at all."""
    residual: bool = True
    down: str = "conv"
    """conv (stride 2) or max (pooling)."""
    up: str = "conv"
    """conv (transposed) or linear (trilinear up-sampling)."""
    deformable: bool = False
    """Deformable convolutions in the finest level."""
    iterations: tuple[int, ...] | None = None
    """Per level, coarsest first; None: the preset's schedule, shortened on a CPU (docs/method.md)."""
    learning_rate: float | None = None
    """Adam's; None: 1e-4, as which the paper's "10e-4" is read; 1e-3 for a shorter schedule (docs/method.md)."""
    smooth: float = 0.1
    diffeo: float = 1.0
    freeze: float = 0.1
    """Share of a level's iterations in which the lower levels stay frozen."""


@dataclass(frozen=True)
class Preset:
    """A name's settings and the sentence that a user chooses by."""

    sentence: str
    config: Config
    cpu_seconds: int | None = None
    """Measured on two CPU cores, a whole-body pair at 6 mm (docs/performance.md); None: not measured."""


def _paper(name: str, sentence: str, **changes: Any) -> tuple[str, Preset]:
    return name, Preset(sentence, Config(preset=name, **changes))


def _ours(name: str, sentence: str, cpu_seconds: int, **changes: Any) -> tuple[str, Preset]:
    return name, Preset(sentence, Config(preset=name, init="affine", **changes), cpu_seconds)


PRESETS: dict[str, Preset] = dict(
    [
        _ours(
            "default",
            "Affine, then multi-scale descent without a network.",
            25,
            start=(100, 100, 100, 50),
            stop_level=0,
        ),
        _ours(
            "fast",
            "As default, on a coarser grid and in fewer steps.",
            10,
            start=(60, 60, 60, 30),
            voxel_share=0.4,
            stop_level=0,
        ),
        _paper("mirrba", "The paper's method: a three-level network optimised from scratch on the pair."),
        _paper("mirrba-depth-1", "Ablation: a single level at full resolution.", depth=1),
        _paper("mirrba-depth-2", "Ablation: two levels.", depth=2),
        _paper("mirrba-depth-4", "The paper's method with four levels, which sees the whole body at once.", depth=4),
        _paper("mirrba-level-1", "Ablation: stop after the coarsest of three levels.", stop_level=1),
        _paper("mirrba-level-2", "Ablation: stop after the second of three levels.", stop_level=2),
        _paper("mirrba-max", "Ablation: max-pooling instead of strided convolution.", down="max"),
        _paper("mirrba-up", "Ablation: trilinear up-sampling instead of transposed convolution.", up="linear"),
        _paper("mirrba-def-conv", "Ablation: deformable convolutions in the finest level (slow).", deformable=True),
        _paper("mirrba-wo-rb", "Ablation: no residual connections; the paper found that it fails.", residual=False),
        _paper("mirrba-wo-regu", "Ablation: no smoothness and no Jacobian term.", smooth=0.0, diffeo=0.0),
        _paper("mirrba-wo-archi", "Ablation: no network, the velocity field itself is optimised.", architecture=False),
        _paper(
            "mirrba-depth-4-max-up",
            "The paper's best network: four levels, max-pooling, trilinear up-sampling.",
            depth=4,
            down="max",
            up="linear",
        ),
    ]
)

INITIALISATIONS = ("none", "centre", "rigid", "affine")
NETWORK_ALONE = (
    *("depth", "iterations", "learning_rate", "smooth", "diffeo", "freeze"),
    *("architecture", "pair_input", "deformable", "residual", "down", "up"),
)
_CHOICES = {"down": ("conv", "max"), "up": ("conv", "linear")}


def resolve(preset: str = "default", **changes: Any) -> Config:
    """The preset's settings with `changes` laid over them, checked.

    Raises InputError for an unknown preset or setting and for a value out of its range.
    """
    if not isinstance(preset, str) or preset not in PRESETS:
        raise InputError(f"There is no preset '{preset}'; choose one of: {', '.join(PRESETS)}.")
    names = [field.name for field in dataclasses.fields(Config) if field.name != "preset"]
    for name in changes:
        if name not in names:
            raise InputError(f"There is no setting '{name}'; the settings are: {', '.join(names)}.")
    typed = {name: _typed(name, value) for name, value in changes.items()}
    config = dataclasses.replace(PRESETS[preset].config, **typed)
    for name in NETWORK_ALONE if config.stop_level == 0 else ():
        if getattr(config, name) != getattr(PRESETS[preset].config, name):
            raise InputError(
                f"Setting '{name}' is the network's, which preset '{preset}' does not use here; leave it out, or "
                "choose a preset that begins with mirrba."
            )
    _check(config)
    return config


def _typed(name: str, value: Any) -> Any:
    """A setting from the command line or from JSON in its own type."""
    kind = {field.name: str(field.type) for field in dataclasses.fields(Config)}[name]
    if "None" in kind and value in (None, "", "none", "auto"):
        return None
    try:
        if kind.startswith("tuple"):
            parts = value.split(",") if isinstance(value, str) else list(value)
            return tuple(_whole(part) for part in parts if part != "")
        if kind.startswith("bool"):
            return _truth(value)
        if kind.startswith("int"):
            return _whole(value)
        if kind.startswith("float"):
            return float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"Setting '{name}' cannot be {value!r}; it takes {_wanted(kind)}.") from None
    if not isinstance(value, str):
        raise InputError(f"Setting '{name}' cannot be {value!r}; it takes a text.")
    return value


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if str(value).lower() not in words:
        raise ValueError
    return words[str(value).lower()]


def _whole(value: Any) -> int:
    if isinstance(value, bool) or (not isinstance(value, str) and value != int(value)):
        raise ValueError
    return int(value)


def _wanted(kind: str) -> str:
    words = {"tuple": "whole numbers separated by commas", "bool": "true or false", "int": "a whole number"}
    return next((word for start, word in words.items() if kind.startswith(start)), "a number")


def _check(config: Config) -> None:
    _demand("depth", config.depth, 1 <= config.depth <= 4, "1 to 4")
    if config.stop_level is not None:
        _demand("stop_level", config.stop_level, 0 <= config.stop_level <= config.depth, f"0 to {config.depth}")
    if config.init not in INITIALISATIONS and not os.path.isfile(config.init):
        names = ", ".join(INITIALISATIONS)
        raise InputError(f"init='{config.init}' is neither one of {names} nor an existing transform file.")
    for name, choices in _CHOICES.items():
        _demand(name, getattr(config, name), getattr(config, name) in choices, " or ".join(choices))
    if config.spacing is not None:
        _demand("spacing", config.spacing, 0.5 <= config.spacing <= 50, "0.5 to 50 mm")
    if config.iterations is not None:
        right = len(config.iterations) == config.depth and all(0 <= n <= 100_000 for n in config.iterations)
        _demand("iterations", config.iterations, right, f"{config.depth} numbers from 0 to 100000, coarsest first")
    for name in ("start", "finish"):
        counts = getattr(config, name)
        right = len(counts) <= 4 and all(0 <= n <= 100_000 for n in counts)
        _demand(name, counts, right, "up to 4 numbers from 0 to 100000, coarsest first")
    _demand("window", config.window, 3 <= config.window <= 15 and config.window % 2 == 1, "an odd number from 3 to 15")
    # With less, no grid that divides by 2^depth would be coarse enough.
    _demand("voxel_share", config.voxel_share, 0.1 <= config.voxel_share <= 1, "0.1 to 1")
    if config.learning_rate is not None:
        _demand("learning_rate", config.learning_rate, 0 < config.learning_rate <= 1, "above 0, at most 1")
    for name in ("smooth", "diffeo"):
        _demand(name, getattr(config, name), 0 <= getattr(config, name) <= 1e6, "0 to 1e6")
    _demand("freeze", config.freeze, 0 <= config.freeze <= 1, "0 to 1")
    _demand("seed", config.seed, 0 <= config.seed < 2**63, "0 to 2^63 − 1")
    if config.stop_level == 0 and not any(config.start) and not any(config.finish):
        raise InputError("stop_level=0 without start or finish leaves nothing to optimise; change one of the settings.")


def _demand(name: str, value: Any, right: bool, allowed: str) -> None:
    if not right:
        raise InputError(f"Setting '{name}' cannot be {value!r}; it takes {allowed}.")
