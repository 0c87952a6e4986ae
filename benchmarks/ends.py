"""What becomes of the ends of a body when its two scans end at other places.   python benchmarks/ends.py -o FOLDER

Made pairs; the baseline as it was scanned, and cut at its lower or its upper end. `default`, which lets a volume go on
beyond its field of view as its nearest voxel and sees no contrast at its end, the same with air there, and the same
with that contrast. The error over the fixed body, where the baseline was scanned too: all of it, and the last 64 mm at
either end.
"""

from __future__ import annotations

import statistics
from typing import Any

import machine
import numpy as np
import SimpleITK as sitk
from ablation import anywhere, ending_in_air, instead
from apart import ASKED, made_pairs
from mirrba import direct, images, metrics
from mirrba.experiment.cohort import Pair
from mirrba.geometry import Geometry
from mirrba.images import read_volume
from mirrba.presets import resolve
from mirrba.registration import register
from mirrba.transforms import read_transform

CUTS = {"nothing": (0.0, 0.0), "150 mm of the legs": (150.0, 0.0), "100 mm of the head": (0.0, 100.0)}
WAYS = {
    "default": {},
    "air": {(images, "_resampled"): ending_in_air},
    "contrast": {(direct, "contrast"): anywhere},
}
END = 64.0  # mm
SHOWN = ("body", "lower_end", "upper_end")


def cut(image: sitk.Image, low: float, high: float) -> sitk.Image:
    """Without so many mm at the lower and at the upper end."""
    first, last = (round(mm / image.GetSpacing()[2]) for mm in (low, high))
    return sitk.Image(image[:, :, first : image.GetSize()[2] - last])


def errors_of(pair: Pair, ends: tuple[float, float], way: str) -> dict[str, float | None]:
    """Means, mm."""
    assert pair.truth is not None
    fixed, moving, truth = read_volume(pair.fixed), cut(read_volume(pair.moving), *ends), read_transform(pair.truth)
    with instead(WAYS[way]):
        found = register(fixed, moving, resolve("default", device="cpu"))
    grid = Geometry.from_image(fixed)
    scanned = grid.resample(sitk.Cast(moving * 0 + 1, sitk.sitkUInt8), truth, sitk.sitkNearestNeighbor)
    body = (sitk.GetArrayFromImage(images.body_mask(fixed)) > 0) & (sitk.GetArrayFromImage(scanned) > 0)
    slices = np.flatnonzero(body.any((1, 2)))
    thickness = round(END / fixed.GetSpacing()[2])
    found_in = {}
    for name, first, last in (
        ("body", slices[0], slices[-1] + 1),
        ("lower_end", slices[0], slices[0] + thickness),
        ("upper_end", slices[-1] + 1 - thickness, slices[-1] + 1),
    ):
        part = body.copy()
        part[:first], part[last:] = False, False
        found_in[name] = metrics.transform_error_mm(found.transform, truth, part, grid)
    return found_in


def main() -> None:
    rows: list[dict[str, Any]] = []
    for pair in made_pairs(__doc__):
        for name, ends in CUTS.items():
            for way in WAYS:
                rows.append({"pair": pair.name, "cut": name, "way": way, **errors_of(pair, ends, way)})
                print(rows[-1], flush=True)
    means = []
    for name in CUTS:
        for way in WAYS:
            own = [row for row in rows if (row["cut"], row["way"]) == (name, way)]
            means.append({"cut": name, "way": way, **{s: statistics.mean(row[s] for row in own) for s in SHOWN}})
    machine.save("ends", {"machine": machine.described(), **ASKED, "means": means, "rows": rows})


if __name__ == "__main__":
    main()
