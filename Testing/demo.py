"""`make demo`: the whole job on headless Slicer, from a made PET pair to a scene to review.

Makes a longitudinal pair with known deformation, loads it into a real MRML scene, registers it in the background
process, loads the results back, scores them, and leaves everything in one folder.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from headless import HeadlessSlicer, writePng

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "MIRRBARegistration"))

from mirrba import metrics
from mirrba.bar import Bar
from mirrba.job import OUTPUTS
from mirrba.segments import read_segmentation
from mirrba.transforms import read_transform
from MIRRBARegistrationLib import MIRRBARegistrationLogic

HEIGHT = 900  # pixels of a picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("build/demo"), help="folder for the results")
    parser.add_argument("--preset", default="default")
    parser.add_argument("--spacing", default="6", help="voxel size of the pair, mm")
    parser.add_argument("--seed", default="0")
    options = parser.parse_args()
    started = time.monotonic()
    shutil.rmtree(options.output, ignore_errors=True)
    pair = options.output / "pair"
    print("Making a baseline and a follow-up PET …")
    making = ["phantom", "-o", str(pair), "--spacing", options.spacing, "--seed", options.seed]
    subprocess.run([sys.executable, "-m", "mirrba", *making], check=True, stdout=subprocess.DEVNULL)
    register(pair, options.output, options.preset)
    print(f"{time.monotonic() - started:.0f} s in all; everything is in {options.output}")


def register(pair: Path, output: Path, preset: str) -> None:
    application = HeadlessSlicer()
    fixed = application.loadVolume(pair / "fixed.nii.gz", "Follow-up PET")
    moving = application.loadVolume(pair / "moving.nii.gz", "Baseline PET")
    fixedSegments = application.loadSegmentation(pair / "fixed_segmentation.seg.nrrd", "Follow-up segments")
    movingSegments = application.loadSegmentation(pair / "moving_segmentation.seg.nrrd", "Baseline segments")
    logic = MIRRBARegistrationLogic()
    with Bar(sys.stderr) as bar:
        job = logic.startRegistration(
            fixed, moving, movingSegments, fixedSegments, preset=preset, onProgress=bar.tell, keepJobFolder=True
        )
        job.wait()
    (output / "log.txt").write_text(job.logText, encoding="utf-8")
    if job.error is not None:
        shutil.rmtree(job.jobFolder)
        sys.exit(f"The demo failed: {job.error}")
    for name in OUTPUTS:
        shutil.copy(job.jobFolder / "output" / name, output)
    shutil.rmtree(job.jobFolder)
    logic.showOverlay(fixed, moving)
    writePng(picture(application), output / "before.png")
    logic.showOverlay(fixed, job.outputs.volume)
    writePng(picture(application), output / "after.png")
    application.writeBundle(output / "scene.mrb")
    report(pair, output)
    application.close()


def picture(application: HeadlessSlicer) -> np.ndarray:
    """The coronal and the sagittal slice view side by side, as Slicer draws them."""
    views = [application.sliceImage(name, HEIGHT * 3 // 5, HEIGHT) for name in ("Green", "Yellow")]
    return np.concatenate(views, axis=1)


def report(pair: Path, output: Path) -> None:
    """Identity beside the registration; the second goes to metrics.json with its TRE."""
    fixed, moving = (read_segmentation(pair / f"{name}_segmentation.seg.nrrd") for name in ("fixed", "moving"))
    landmarks = metrics.read_landmarks(pair / "landmarks.csv")
    before = metrics.evaluate(fixed, moving.onto(fixed.geometry), moving)
    before["tre_mm"] = metrics.landmark_error_mm(sitk.Transform(3, sitk.sitkIdentity), landmarks)
    before["folding_fraction"] = 0.0
    scores = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    scores["tre_mm"] = metrics.landmark_error_mm(read_transform(output / "transform.h5"), landmarks)
    (output / "metrics.json").write_text(json.dumps(scores, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"\n{'':24}{'before':>9}{'after':>9}")
    for key, label in (
        ("dice_organs", "Dice, brain and bladder"),
        ("dice_lesions", "Dice, lesions"),
        ("detection_rate", "Lesions detected"),
        ("tre_mm", "TRE, mm"),
        ("folding_fraction", "Folding"),
    ):
        print(f"{label:24}{before[key]:9.3f}{scores[key]:9.3f}")
    print()


if __name__ == "__main__":
    main()
