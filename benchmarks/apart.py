"""What the affine start is for: scans that do not lie on each other.   python benchmarks/apart.py -o FOLDER

Made pairs, the follow-up moved as a whole, as by another couch position; `default` with its affine start, without, and
without on three levels.
"""

from __future__ import annotations

import argparse
import math
import statistics
from pathlib import Path
from typing import Any

import machine
import SimpleITK as sitk
from mirrba.experiment.cohort import Pair, read_cohort
from mirrba.experiment.scores import score
from mirrba.geometry import Geometry
from mirrba.images import read_volume
from mirrba.phantom import write_pairs
from mirrba.presets import resolve
from mirrba.registration import register
from mirrba.transforms import displacement_field

PAIRS, SPACING, SEED = 5, 8.0, 950
ASKED = {"pairs": PAIRS, "spacing": SPACING, "seed": SEED}
SHIFTS = ((0.0, 0.0, 0.0), (10.0, 10.0, 40.0), (30.0, 20.0, 80.0), (60.0, 40.0, 250.0))  # mm, LPS
STARTS = {"affine": {}, "none": {"init": "none"}, "none, three levels": {"init": "none", "start": (100, 100, 50)}}
SHOWN = ("dice_organs", "dice_lesions", "tre_mm", "tre_body_mm", "sd_jacobian")


def scores_of(pair: Pair, shift: tuple[float, ...], start: str) -> dict[str, Any]:
    """Scored on the pair as it was made: the shift is taken back after the transform that was found."""
    fixed, moving = read_volume(pair.fixed), read_volume(pair.moving)
    moving.SetOrigin([start + by for start, by in zip(moving.GetOrigin(), shift, strict=True)])
    found = register(fixed, moving, resolve("default", device="cpu", **STARTS[start]))
    back = sitk.TranslationTransform(3, [-by for by in shift])
    whole = sitk.CompositeTransform([back, sitk.Transform(found.transform)])  # the last of the list maps first
    scores = score(pair, displacement_field(whole, Geometry.from_image(fixed)))
    return {name: scores[name] for name in SHOWN}


def made_pairs(description: str | None) -> tuple[Pair, ...]:
    """Those in the folder that the command line names; made there where there are none yet."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the pairs are made here")
    options = parser.parse_args()
    if not (options.output / "pairs.tsv").is_file():
        write_pairs(options.output, PAIRS, SPACING, SEED)
    return read_cohort(options.output).pairs


def main() -> None:
    rows = []
    for pair in made_pairs(__doc__):
        for shift in SHIFTS:
            for start in STARTS:
                place = {"pair": pair.name, "shift_mm": round(math.hypot(*shift)), "start": start}
                rows.append({**place, **scores_of(pair, shift, start)})
                print(rows[-1], flush=True)
    means = []
    for distance in (round(math.hypot(*shift)) for shift in SHIFTS):
        for start in STARTS:
            own = [row for row in rows if (row["shift_mm"], row["start"]) == (distance, start)]
            mean = {name: round(statistics.mean(row[name] for row in own), 4) for name in SHOWN}
            means.append({"shift_mm": distance, "start": start, **mean})
    machine.save("apart", {"machine": machine.described(), **ASKED, "means": means, "rows": rows})


if __name__ == "__main__":
    main()
