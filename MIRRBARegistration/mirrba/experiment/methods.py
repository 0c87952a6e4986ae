"""The methods of the study, as data. A name stands for the same settings everywhere."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .. import __version__
from ..errors import InputError
from ..presets import PRESETS, resolve

# Which distribution a backend needs, beside what mirrba needs itself.
PACKAGES = {
    "ants": "antspyx",
    "convexadam": "convexAdam",
    "elastix": "itk-elastix",
    "elastix_level": "itk-elastix",
    "greedy": "picsl-greedy",
}

# Raised when a change of the engine changes what MIRRBA's presets return: older results then do not count.
ENGINE = 10


@dataclass(frozen=True)
class Method:
    """A way to register a pair: which module of `backends` does it, and with what.

    `config` is JSON: everything that changes the result beside the files, the seed, the threads and the device.
    """

    name: str
    title: str
    """As the paper's tables and figures have it."""
    sentence: str
    backend: str
    config: Mapping[str, Any] = field(default_factory=dict)
    start: Method | None = None
    """The method whose field this one starts from: the fields are composed, the seconds added."""
    quick: Mapping[str, Any] | None = field(default_factory=dict)
    """What `config` is changed to for a quick look; None: it has no quick form."""
    revision: int = 1
    """Raised when a change of the code changes what the method returns, as `ENGINE` is."""

    @staticmethod
    def from_json(content: dict[str, Any]) -> Method:
        """What `dataclasses.asdict` made of one."""
        start = content["start"]
        return Method(**{**content, "start": None if start is None else Method.from_json(start)})

    def settings(self) -> dict[str, Any]:
        """`config`, and for MIRRBA all that its preset stands for: a preset that changes is another method."""
        return asdict(resolve(**self.config)) if self.backend == "mirrba" else dict(self.config)

    def changed(self, **changes: Any) -> Method:
        """The same method with other settings. Raises InputError for an unknown one."""
        config = {**self.config, **changes}
        if self.backend == "mirrba":
            settings = json.loads(json.dumps(replace(self, config=config).settings()))
            config = {name: settings[name] for name in config}  # "12" and 12.0 are one setting, hence one key
        elif unknown := set(changes) - set(self.config):
            known = ", ".join(self.config) or "none"
            raise InputError(f"{self.title} has no setting '{min(unknown)}'; its settings are: {known}.")
        return replace(self, config=config)

    def in_brief(self) -> Method:
        """Its quick form. Raises InputError where it has none."""
        if self.quick is None:
            raise InputError(f"{self.title} has no quick form; leave it out of a quick run.")
        start = None if self.start is None else self.start.in_brief()
        return replace(self.changed(**self.quick), start=start)

    @property
    def trained(self) -> bool:
        """Whether it needs a network that has learned from other pairs (`training`)."""
        return self.backend == "dl"

    def version(self) -> str | None:
        """The version of the package that does the work; None if it is not installed."""
        if self.backend not in PACKAGES:
            return __version__
        try:
            return importlib.metadata.version(PACKAGES[self.backend])
        except importlib.metadata.PackageNotFoundError:
            return None

    def missing(self) -> str | None:
        """The sentence for a package that is not installed."""
        if self.version() is not None:
            return None
        return f"{self.title} needs {PACKAGES[self.backend]}, which is not installed; pip install 'mirrba[baselines]'."


# The baselines get the intensities that MIRRBA normalises for itself (docs/method.md): "suv" gives them the volumes as
# they are.
_INTENSITIES = {"intensities": "normalised"}


def _baselines() -> list[Method]:
    return [
        Method("identity", "Identity", "No registration: the volumes as they were scanned.", "identity"),
        Method(
            "syn",
            "SyN",
            "ANTs: affine, then SyN by mutual information (antspyx).",
            "ants",
            {**_INTENSITIES, "type_of_transform": "SyN", "reg_iterations": [100, 100, 50]},
            quick={"reg_iterations": [20, 10, 0]},
        ),
        Method(
            "syncc",
            "SyNCC",
            "ANTs: rigid, affine, then SyN by cross-correlation of radius 4, at a usable cost (antspyx).",
            "ants",
            {
                **_INTENSITIES,
                "type_of_transform": "SyNRA",
                "syn_metric": "CC",
                "syn_sampling": 4,
                "reg_iterations": [100, 70, 20],
                "grad_step": 0.25,
            },
            quick={"reg_iterations": [20, 5, 0], "syn_sampling": 2},
        ),
        Method(
            "syncc-full",
            "SyNCC (full)",
            "ANTs' own SyNCC preset: up to 2100×1200×1200×20 iterations, hours on a whole body (antspyx).",
            "ants",
            {**_INTENSITIES, "type_of_transform": "SyNCC"},
            quick=None,
        ),
        _elastix(),
        *map(_elastix_level, (1, 2, 3)),
        Method(
            "greedy",
            "Greedy",
            "greedy: rigid, affine, then compositive deformation, all by NCC: today's fast baseline (picsl-greedy).",
            "greedy",
            {
                **_INTENSITIES,
                "metric": "NCC 2x2x2",
                "linear_iterations": "100x50x10",
                "iterations": "100x100x50",
                "smoothing": "2.0vox 0.5vox",
            },
            quick={"linear_iterations": "50x20x0", "iterations": "50x20x0"},
        ),
        Method(
            "convexadam",
            "ConvexAdam",
            "ConvexAdam: discrete displacements coupled convexly, then Adam, on MIND features (convexadam).",
            "convexadam",
            {
                **_INTENSITIES,
                "mind_r": 1,
                "mind_d": 2,
                "lambda_weight": 1.25,
                "grid_sp": 6,
                "disp_hw": 4,
                "selected_niter": 80,
                "grid_sp_adam": 2,
                "ic": True,
            },
            quick={"selected_niter": 10},
        ),
    ]


def _elastix() -> Method:
    return Method(
        "elastix",
        "Elastix",
        "elastix: rigid, affine, then B-spline by NCC and bending energy, four resolutions each (itk-elastix).",
        "elastix",
        {
            **_INTENSITIES,
            "iterations": 1000,
            "resolutions": 4,
            "samples": 4096,
            "grid_mm": 16.0,
            "bending_energy": 100.0,  # docs/experiment.md has the trial
        },
        quick={"iterations": 50},
    )


def _elastix_level(level: int) -> Method:
    return Method(
        f"elastix-level-{level}",
        f"Elastix Level {level}",
        f"What elastix has found after {level} of the B-spline's four resolutions (itk-elastix).",
        "elastix_level",
        {"level": level},
        start=_elastix(),
    )


def _mirrba(name: str) -> Method:
    config = {"preset": name}
    return Method(name, _title(name), PRESETS[name].sentence, "mirrba", config, quick=_quick(name), revision=ENGINE)


def _quick(preset: str) -> dict[str, Any]:
    """A few iterations on every level that runs, and a coarse grid."""
    config = PRESETS[preset].config
    few: dict[str, Any] = {"spacing": 12.0}
    if config.stop_level != 0:
        few["iterations"] = [5] * config.depth
    if config.deformable:  # 50 s an iteration at 12 mm
        few |= {"spacing": 24.0, "iterations": [5] * (config.depth - 1) + [2]}
    for stage in ("start", "finish"):
        if getattr(config, stage):
            few[stage] = [5] * len(getattr(config, stage))
    return few


def _title(preset: str) -> str:
    """mirrba-wo-archi → MIRRBA wo Archi, as in the paper; our own presets in brackets."""
    if not preset.startswith("mirrba"):
        return f"MIRRBA ({preset})"
    words = {"mirrba": "MIRRBA", "wo": "wo", "rb": "RB"}
    return " ".join(words.get(word, word.capitalize()) for word in preset.split("-"))


def _combined(name: str, title: str, start: Method) -> Method:
    best = "mirrba-depth-4-max-up"
    return Method(
        name,
        title,
        f"{start.title}, then MIRRBA Depth 4 Max Up on its result: the warped volume as input, the fields composed.",
        "mirrba",
        {"preset": best},
        start=start,
        quick=_quick(best),
        revision=ENGINE,
    )


def _trained() -> list[Method]:
    """docs/experiment.md says what of this is less than the paper's training."""
    common = {"spacing": 12.0, "init": "none"}
    return [
        Method(
            "dl-lapirn",
            "DL LapIRN",
            "LapIRN on both volumes, trained on the pairs of the other folds with MIRRBA's loss, level after level.",
            "dl",
            {
                "network": "lapirn",
                **common,
                "iterations": [400, 160, 60],
                "learning_rate": 1e-3,
                "smooth": 0.1,
                "diffeo": 1.0,
                "freeze": 0.1,
            },
            quick={"spacing": 24.0, "iterations": [5, 5, 5]},
        ),
        Method(
            "dl-voxelmorph",
            "DL VoxelMorph",
            "VoxelMorph's diffeomorphic U-Net, trained on the pairs of the other folds by NCC.",
            "dl",
            {"network": "voxelmorph", **common, "iterations": [300], "learning_rate": 1e-4, "smooth": 1.0},
            quick={"spacing": 24.0, "iterations": [10]},
        ),
    ]


def _all() -> list[Method]:
    methods = [*_baselines(), *(_mirrba(name) for name in PRESETS)]
    by_name = {method.name: method for method in methods}
    return [
        *methods,
        _combined("combined", "Combined", by_name["syncc"]),
        _combined("combined-greedy", "Combined (greedy)", by_name["greedy"]),
        *_trained(),
    ]


METHODS: dict[str, Method] = {method.name: method for method in _all()}


# The paper's other names for the same.
ALIASES = {"elastix-level-4": "elastix", "mirrba-level-3": "mirrba", "mirrba-depth-3": "mirrba"}


def is_of_paper(method: Method) -> bool:
    """One of the paper's networks or its Combined; `default` and `fast` are our own."""
    return str(method.config.get("preset", "")).startswith("mirrba")


def find(name: str, *others: Method) -> Method:
    """The method of that name, of a study's or `others`. Raises InputError."""
    known = METHODS | {method.name: method for method in others}
    name = ALIASES.get(name, name)
    if name not in known:
        raise InputError(f"There is no method '{name}'; choose one of: {', '.join(known)}.")
    return known[name]
