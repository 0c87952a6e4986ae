"""A real PET warped by a known field: real texture with an exact truth.

Set MIRRBA_REAL_PET to a whole-body PET file to run it, and MIRRBA_REAL_PET_PRESET to try another preset than default.
"""

import os

import numpy as np
import pytest
import SimpleITK as sitk
from mirrba import metrics, register
from mirrba.geometry import Geometry
from mirrba.images import body_mask, read_volume
from mirrba.presets import resolve

REAL_PET = os.environ.get("MIRRBA_REAL_PET")
PRESET = os.environ.get("MIRRBA_REAL_PET_PRESET", "default")


def a_known_motion(image: sitk.Image) -> sitk.Transform:
    """A turn and shift of the patient, then a smooth cubic B-spline of some 10 mm per node."""
    grid = Geometry.from_image(image)
    rigid = sitk.Euler3DTransform(grid.point([n / 2 for n in grid.size]), 0.04, -0.03, 0.06, (14.0, -10.0, 18.0))
    spline = sitk.BSplineTransformInitializer(image, [4, 4, 8], 3)
    nodes = np.random.default_rng(7).normal(0, 10, len(spline.GetParameters()))
    spline.SetParameters(nodes.tolist())
    return sitk.CompositeTransform([rigid, spline])


@pytest.mark.slow
@pytest.mark.skipif(REAL_PET is None, reason="MIRRBA_REAL_PET does not name a PET file")
def test_a_real_pet_is_brought_back_onto_its_warped_copy():
    baseline = read_volume(REAL_PET)
    grid = Geometry.from_image(baseline)
    truth = a_known_motion(baseline)
    assert metrics.jacobian_determinant(truth, grid).min() > 0.2
    follow_up = sitk.Resample(baseline, baseline, truth, sitk.sitkBSpline3)
    values = sitk.GetArrayFromImage(follow_up)
    noise = np.random.default_rng(1).normal(0, 1, values.shape) * 0.1 * np.sqrt(np.clip(values, 0.01, None))
    follow_up = grid.image((1.15 * np.clip(values, 0, None) + noise).astype(np.float32))
    registration = register(follow_up, baseline, resolve(PRESET))
    body = sitk.GetArrayFromImage(body_mask(follow_up)) > 0
    before = metrics.transform_error_mm(sitk.Transform(3, sitk.sitkIdentity), truth, body, grid)
    after = metrics.transform_error_mm(registration.transform, truth, body, grid)
    jacobian = registration.jacobian()
    print(f"\nTRE over the body: {before:.2f} mm before, {after:.2f} mm after; smallest det J {jacobian.min():.3f};")
    print(f"{registration.provenance['seconds']:.0f} s; {registration.provenance['plan']}")
    assert before > 20
    assert after < 5
    assert jacobian.min() > 0
