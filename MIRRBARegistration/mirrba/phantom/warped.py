"""A pair from a single real PET: the volume, and as its follow-up a copy warped by a known field.

Real texture and noise with an exact truth. Both come from the same examination, so this is easier than two scans of
one patient. It has no segments.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..geometry import Geometry
from ..transforms import write_transform

NODES = (4, 4, 8)
NODE_SIGMA = 10.0  # mm
GAIN = 1.15  # of the uptake from one scan to the next
NOISE = 0.1  # times the root of the uptake


def write_warped(volume: sitk.Image, folder: Path) -> None:
    """The files of a pair in `folder`, which appears whole or not at all: volume moving, its warped copy fixed."""
    truth = known_motion(volume)
    fixed = follow_up(volume, truth)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".warped-", dir=folder.parent) as name:
        aside = Path(name) / folder.name
        aside.mkdir()
        for word, image in (("fixed", fixed), ("moving", volume)):
            sitk.WriteImage(image, str(aside / f"{word}.nii.gz"), useCompression=True)
        write_transform(truth, aside / "true_transform.h5")
        os.replace(aside, folder)


def known_motion(image: sitk.Image) -> sitk.Transform:
    """A turn and shift of the patient after a smooth cubic B-spline of some 10 mm per node; fixed to moving points."""
    grid = Geometry.from_image(image)
    rigid = sitk.Euler3DTransform(grid.point([n / 2 for n in grid.size]), 0.04, -0.03, 0.06, (14.0, -10.0, 18.0))
    spline = sitk.BSplineTransformInitializer(image, list(NODES), 3)
    spline.SetParameters(np.random.default_rng(7).normal(0, NODE_SIGMA, len(spline.GetParameters())).tolist())
    return sitk.CompositeTransform([rigid, spline])


def follow_up(baseline: sitk.Image, truth: sitk.Transform) -> sitk.Image:
    """The baseline warped by the truth, its uptake higher, with noise of its own."""
    warped = sitk.Resample(baseline, baseline, truth, sitk.sitkBSpline3)
    values = np.clip(sitk.GetArrayFromImage(warped), 0, None)
    noise = np.random.default_rng(1).normal(0, 1, values.shape) * NOISE * np.sqrt(np.clip(values, 0.01, None))
    return Geometry.from_image(baseline).image((GAIN * values + noise).astype(np.float32))
