"""Presets side by side on made pairs: python benchmarks/presets_on_phantoms.py -o FOLDER [--presets default,fast] …

Writes one CSV row per pair and preset; the presets of a pair run one after the other, so that they share the machine's
mood. Seeds from 100 were not looked at while the defaults were chosen.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

from mirrba import metrics
from mirrba.segments import read_segmentation
from mirrba.transforms import read_transform

COLUMNS = (
    "dice_organs",
    "dice_lesions",
    "detection_rate",
    "disappearing_rate",
    "disappearing_rate_signed",
    "tre_mm",
    "sd_jacobian",
    "sd_jacobian_body",
    "folding_fraction",
    "seconds",
    "peak_memory_mb",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--presets", default="fast,default")
    parser.add_argument("--seeds", default="100,101,102,103,104")
    parser.add_argument("--spacing", default="6")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    with (options.output / "presets.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["seed", "preset", *COLUMNS])
        for seed in options.seeds.split(","):
            pair = options.output / f"pair-{seed}"
            mirrba("phantom", "-o", pair, "--spacing", options.spacing, "--seed", seed)
            for preset in ["identity", *options.presets.split(",")]:
                scores = identity(pair) if preset == "identity" else registered(pair, preset)
                table.writerow([seed, preset, *[scores[column] for column in COLUMNS]])
                file.flush()


def mirrba(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "mirrba", *map(str, arguments)], check=True)


def identity(pair: Path) -> dict:
    fixed, moving = (read_segmentation(pair / f"{name}_segmentation.seg.nrrd") for name in ("fixed", "moving"))
    return metrics.evaluate(fixed, moving.onto(fixed.geometry), moving)


def registered(pair: Path, preset: str) -> dict:
    out = pair / preset
    files = [pair / "fixed.nii.gz", pair / "moving.nii.gz"]
    segments = [
        "--moving-seg",
        pair / "moving_segmentation.seg.nrrd",
        "--fixed-seg",
        pair / "fixed_segmentation.seg.nrrd",
    ]
    mirrba("register", *files, *segments, "-o", out, "--preset", preset, "--quiet")
    scores = json.loads((out / "metrics.json").read_text())
    landmarks = metrics.read_landmarks(pair / "landmarks.csv")
    scores["tre_mm"] = metrics.landmark_error_mm(read_transform(out / "transform.h5"), landmarks)
    return scores


if __name__ == "__main__":
    main()
