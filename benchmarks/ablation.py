"""What each idea of our presets brings: one taken away at a time.   python benchmarks/ablation.py -o FOLDER

On made pairs that were used for choosing nothing but the clip at 10, and four of them the voxels of `fast`. Means over
the pairs, and which of them differ from the preset's own; the variants of a pair run one after the other.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import machine
import SimpleITK as sitk
import torch
from mirrba import direct, fields, images, losses, network, schedule
from mirrba.experiment.cohort import Pair, read_cohort
from mirrba.experiment.scores import score
from mirrba.experiment.statistics import SIGNIFICANT, compare
from mirrba.geometry import Geometry
from mirrba.images import read_volume
from mirrba.phantom import write_pairs
from mirrba.presets import resolve
from mirrba.registration import register
from mirrba.transforms import displacement_field
from torch import Tensor

PAIRS, SPACING, SEED = 10, 8.0, 700
SHOWN = ("dice_organs", "dice_lesions", "detection_rate", "disappearing_rate", "tre_mm", "tre_body_mm", "sd_jacobian")
LOWER_IS_BETTER = ("tre_mm", "tre_body_mm", "sd_jacobian")


def linear(
    image: sitk.Image, grid: Geometry, transform: sitk.Transform | None, interpolator: int, continued: bool = False
) -> images.Floats:
    """In place of images._resampled: no cubic splines."""
    plain = sitk.sitkLinear if interpolator == sitk.sitkBSpline else interpolator
    return resampled(image, grid, transform, plain, continued)


def ending_in_air(
    image: sitk.Image, grid: Geometry, transform: sitk.Transform | None, interpolator: int, continued: bool = False
) -> images.Floats:
    """In place of images._resampled: beyond its field of view a volume is air."""
    return resampled(image, grid, transform, interpolator)


resampled = images._resampled


def of_fixed(similarity: losses.LocalNCC, warped: Tensor) -> Tensor:
    """In place of direct.contrast: what vanished is no contrast."""
    return either(similarity, similarity.fixed)


def anywhere(similarity: losses.LocalNCC, warped: Tensor) -> Tensor:
    """In place of direct.contrast: the end of a field of view is an edge like others."""
    return either(losses.LocalNCC(similarity.fixed, similarity.window), warped)


either = direct.contrast


class Seen(network.Moving):
    """In place of direct.Moving: it knows the field that the image was last seen through."""

    def warp(self, level: int, displacement: Tensor) -> Tensor:
        Seen.last = (self.levels[level], displacement)
        return super().warp(level, displacement)


def by_displacement(warped: Tensor) -> Tensor:
    """In place of direct.image_gradient: autograd's derivative, along the moving image's axes, of linear sampling."""
    image, displacement = Seen.last
    displacement = displacement.detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(fields.warp(image, displacement).sum(), displacement)
    return fields.from_voxels(slope)


def second_order(image: Tensor) -> Tensor:
    """In place of direct.image_gradient."""
    return torch.stack(torch.gradient(image[0, 0], edge_order=1)[::-1])[None]


# name: (preset, settings, what is put in place of a module's own)
WHOLE = "default"  # all others are tested against it
GAUSSIANS = {  # of the widths that were tuned for them
    (direct, "unbent"): direct.smooth,
    (direct, "FIELD_SIGMA"): 0.7,
    (direct, "FINEST_FIELD_SIGMA"): 0.31,
    (direct, "PLAIN_SIGMA"): 1.2,
}
COARSE_SIGMAS = {
    (direct, "FINEST_UPDATE_SIGMA"): direct.UPDATE_SIGMA,
    (direct, "FINEST_FIELD_SIGMA"): direct.FIELD_SIGMA,
}
AFTER = {"init": "affine", "spacing": 7.0, "start": (100, 100, 100, 50)}
NETWORK = {"init": "affine", "spacing": 7.0, "stop_level": 2, "finish": (60, 60, 50)}
VARIANTS: dict[str, tuple[str, dict[str, Any], dict[tuple[Any, str], Any]]] = {
    WHOLE: ("default", {}, {}),
    "the derivative by the displacement": (
        "default",
        {},
        {(direct, "Moving"): Seen, (direct, "image_gradient"): by_displacement},
    ),
    "gradient of second order": ("default", {}, {(direct, "image_gradient"): second_order}),
    "the field smoothed by a Gaussian": ("default", {}, GAUSSIANS),
    "the field smoothed alike everywhere": ("default", {}, {(direct, "NOISE"): 1e-12}),
    "the contrast of the fixed image alone": ("default", {}, {(direct, "contrast"): of_fixed}),
    "contrast in windows of nine": ("default", {}, {(direct, "CONTRAST_WINDOW"): 9}),
    "contrast at the end of a field of view": ("default", {}, {(direct, "contrast"): anywhere}),
    "air beyond a field of view": ("default", {}, {(images, "_resampled"): ending_in_air}),
    "squared correlation as the paper": ("default", {}, {(losses, "LocalInformation"): losses.LocalNCC}),
    "window 5": ("default", {"window": 5}, {}),
    "window 9": ("default", {"window": 9}, {}),
    "fast": ("fast", {}, {}),
    "the voxels of fast": ("default", {"voxel_share": 0.4}, {}),
    "the image's own grid": ("default", {}, {(schedule, "FINER"): 1.0}),
    "linear sampling": ("default", {}, {(images, "_resampled"): linear}),
    "no affine start": ("default", {"init": "none"}, {}),
    "three levels": ("default", {"start": (100, 100, 50)}, {}),
    "no finest level": ("default", {"start": (100, 100, 150, 0)}, {}),
    "finest level only": ("default", {"start": (0, 0, 0, 250)}, {}),
    "finest level as smooth as the others": ("default", {}, COARSE_SIGMAS),
    "two levels of the network, then the descent": ("mirrba-depth-4-max-up", NETWORK, {}),
    "the descent, then the network's four levels": ("mirrba-depth-4-max-up", AFTER, {}),
}


@contextmanager
def instead(replaced: Mapping[tuple[Any, str], Any]) -> Iterator[None]:
    before = {(module, name): getattr(module, name) for module, name in replaced}
    for (module, name), value in replaced.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name), value in before.items():
            setattr(module, name, value)


def scores_of(pair: Pair, variant: str) -> dict[str, Any]:
    preset, settings, replaced = VARIANTS[variant]
    fixed, moving = read_volume(pair.fixed), read_volume(pair.moving)
    with instead(replaced):
        found = register(fixed, moving, resolve(preset, device="cpu", **settings))
    scores = score(pair, displacement_field(found.transform, Geometry.from_image(fixed)))
    return {**{name: scores[name] for name in SHOWN}, "seconds": found.provenance["seconds"]}


def against(own: list[dict[str, Any]], whole: list[dict[str, Any]]) -> dict[str, str]:
    """Where the paired test tells two variants apart: better or worse."""
    found = {}
    for name in SHOWN:
        comparison = compare([row[name] for row in own], [row[name] for row in whole])
        if comparison.p is not None and comparison.difference is not None and comparison.p < SIGNIFICANT:
            found[name] = "better" if (comparison.difference < 0) == (name in LOWER_IS_BETTER) else "worse"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the pairs are made here")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--variants", type=int, help="only so many, from the top of the table")
    options = parser.parse_args()
    if not (options.output / "pairs.tsv").is_file():
        write_pairs(options.output, options.pairs, SPACING, SEED)
    variants = list(VARIANTS)[: options.variants]
    rows = []
    for pair in read_cohort(options.output).pairs:
        for variant in variants:
            rows.append({"pair": pair.name, "variant": variant, **scores_of(pair, variant)})
            print(rows[-1], flush=True)
    rows_of = {variant: [row for row in rows if row["variant"] == variant] for variant in variants}
    means = {}
    for variant, own in rows_of.items():
        known = {name: [row[name] for row in own if row[name] is not None] for name in (*SHOWN, "seconds")}
        means[variant] = {name: round(statistics.mean(values), 4) for name, values in known.items() if values}
    apart = {variant: against(own, rows_of[WHOLE]) for variant, own in rows_of.items()}
    asked = {"pairs": len(rows_of[WHOLE]), "spacing": SPACING, "seed": SEED}
    machine.save("ablation", {"machine": machine.described(), **asked, "means": means, "apart": apart, "rows": rows})


if __name__ == "__main__":
    main()
