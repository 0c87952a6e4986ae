"""Methods side by side on a real PET warped by a known field.   python benchmarks/real_pet.py PET

Real texture and noise with an exact truth: the volume, its warped copy as the follow-up. The copy comes from the same
examination, so this is easier than two scans of one patient.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import machine
import numpy as np
import SimpleITK as sitk
from mirrba import metrics
from mirrba.experiment import process
from mirrba.experiment.cluster import cores
from mirrba.experiment.displacement import as_transform, read_field
from mirrba.experiment.methods import find
from mirrba.experiment.task import Settings, Task
from mirrba.geometry import Geometry
from mirrba.images import body_mask, read_volume

METHODS = "identity,default,fast,greedy"


def a_known_motion(image: sitk.Image) -> sitk.Transform:
    """A turn and shift of the patient, then a smooth cubic B-spline of some 10 mm per node."""
    grid = Geometry.from_image(image)
    rigid = sitk.Euler3DTransform(grid.point([n / 2 for n in grid.size]), 0.04, -0.03, 0.06, (14.0, -10.0, 18.0))
    spline = sitk.BSplineTransformInitializer(image, [4, 4, 8], 3)
    nodes = np.random.default_rng(7).normal(0, 10, len(spline.GetParameters()))
    spline.SetParameters(nodes.tolist())
    return sitk.CompositeTransform([rigid, spline])


def a_follow_up(baseline: sitk.Image, truth: sitk.Transform) -> sitk.Image:
    """The baseline warped by the truth, its uptake 15 % higher, with noise of its own."""
    warped = sitk.Resample(baseline, baseline, truth, sitk.sitkBSpline3)
    values = np.clip(sitk.GetArrayFromImage(warped), 0, None)
    noise = np.random.default_rng(1).normal(0, 1, values.shape) * 0.1 * np.sqrt(np.clip(values, 0.01, None))
    return Geometry.from_image(baseline).image((1.15 * values + noise).astype(np.float32))


def measured(method: str, fixed: Path, moving: Path, truth: sitk.Transform, settings: Settings) -> dict[str, Any]:
    """Error over the body in mm, roughness and cost of one method."""
    with tempfile.TemporaryDirectory() as folder:
        outcome = process.run(Task(find(method), fixed, moving, settings), Path(folder))
        found = as_transform(read_field(outcome.displacement))
    image = sitk.ReadImage(str(fixed))
    grid, body = Geometry.from_image(image), sitk.GetArrayFromImage(body_mask(image)) > 0
    jacobian = metrics.jacobian_determinant(found, grid)
    return {
        "method": method,
        "tre_body_mm": round(metrics.transform_error_mm(found, truth, body, grid), 3),
        "sd_jacobian_body": round(float(jacobian[body].std()), 4),
        "smallest_jacobian": round(float(jacobian.min()), 3),
        "seconds": round(outcome.info["seconds"], 1),
        "peak_memory_mb": outcome.info["peak_memory_mb"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pet", type=Path)
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    baseline = read_volume(options.pet)
    truth = a_known_motion(baseline)
    settings = Settings(cores(), 0, options.device, None)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        fixed, moving = Path(name) / "fixed.nii.gz", Path(name) / "moving.nii.gz"
        sitk.WriteImage(a_follow_up(baseline, truth), str(fixed))
        sitk.WriteImage(baseline, str(moving))
        for method in options.methods.split(","):
            rows.append(measured(method, fixed, moving, truth, settings))
            print(rows[-1], flush=True)
    grid = {"size": list(baseline.GetSize()), "spacing_mm": [round(s, 3) for s in baseline.GetSpacing()]}
    machine.save("real-pet", {"machine": machine.described(options.device), "pet": grid, "rows": rows})


if __name__ == "__main__":
    main()
