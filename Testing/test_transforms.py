"""Transforms: fields in mm on any grid, their inverse, their files."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from mirrba import fields, inverse, transforms
from mirrba.errors import InputError
from mirrba.geometry import Geometry

TURN = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.3, -0.2, 0.4).GetMatrix()
GRIDS = {
    "straight": Geometry((20, 18, 22), (4.0, 4.0, 4.0), (-40.0, 10.0, 5.0), (1, 0, 0, 0, 1, 0, 0, 0, 1)),
    "flipped": Geometry((20, 18, 22), (4.0, 4.0, 4.0), (-40.0, 10.0, 5.0), (-1, 0, 0, 0, 1, 0, 0, 0, -1)),
    "oblique": Geometry((20, 18, 22), (4.0, 4.0, 4.0), (-40.0, 10.0, 5.0), TURN),
}


def a_field(grid: Geometry, size: float = 3.0) -> np.ndarray:
    """A smooth displacement in voxels that is not zero at the faces."""
    z, y, x = np.meshgrid(*[np.linspace(0, np.pi, n) for n in grid.shape], indexing="ij")
    return size * np.stack([np.cos(x) * np.sin(y), np.sin(z + 0.5), np.cos(y - z)], axis=-1) * 0.5


@pytest.mark.parametrize("name", GRIDS)
def test_a_voxel_field_moves_points_along_the_grids_own_axes(name):
    grid = GRIDS[name]
    field = a_field(grid)
    transform = transforms.from_voxels(field, grid)
    for index in ((3, 4, 5), (10, 9, 8)):
        there = np.add(index, field[index[::-1]])
        assert transform.TransformPoint(grid.point(index)) == pytest.approx(grid.point(there), abs=1e-6)


def test_a_tapered_field_keeps_its_inside_ends_at_zero_and_does_not_fold():
    grid = GRIDS["oblique"]
    field = a_field(grid)
    extended, larger = transforms.tapered(field, grid)
    for axis in range(3):
        assert not extended.take([0], axis).any()
        assert np.abs(extended.take([-1], axis)).max() < 0.05 * np.abs(field).max()
    before, after = transforms.from_voxels(field, grid), transforms.from_voxels(extended, larger)
    for index in ((3, 4, 5), (1, 1, 1), (18, 16, 20)):
        assert after.TransformPoint(grid.point(index)) == pytest.approx(before.TransformPoint(grid.point(index)))
    gradient = np.stack(np.gradient(extended, axis=(2, 1, 0)), axis=-1)
    assert np.linalg.det(gradient + np.eye(3)).min() > 0


def test_a_field_that_ran_away_makes_no_grid_of_any_size(caplog):
    """As after a registration that failed: 40 voxels of 4 mm at the border."""
    grid = GRIDS["oblique"]
    field = a_field(grid, 60.0)
    extended, larger = transforms.tapered(field, grid)
    assert max(np.subtract(larger.size, grid.size)) <= max(grid.size)
    assert extended.shape[:3] == larger.shape
    for axis in range(3):
        assert not extended.take([0], axis).any()
        assert np.abs(extended.take([-1], axis)).max() < 0.05 * np.abs(field).max()
    before, after = transforms.from_voxels(field, grid), transforms.from_voxels(extended, larger)
    for index in ((3, 4, 5), (0, 0, 0), (19, 17, 21)):
        assert after.TransformPoint(grid.point(index)) == pytest.approx(before.TransformPoint(grid.point(index)))
    (said,) = caplog.messages
    border = np.ones(grid.shape, bool)
    border[1:-1, 1:-1, 1:-1] = False
    assert f"by {4 * np.linalg.norm(field[border], axis=-1).max():.0f} mm" in said
    assert "init=affine" in said


@pytest.mark.parametrize("size", [0.0, 1.0, 3.0])
def test_a_field_is_extended_by_three_times_what_its_border_moves(size, caplog):
    grid = GRIDS["straight"]
    field = a_field(grid, size)
    _, larger = transforms.tapered(field, grid)
    for axis in range(3):
        moved = [np.sqrt((field.take(end, axis) ** 2).sum(-1)).max() for end in (0, -1)]
        assert larger.shape[axis] - grid.shape[axis] == sum(2 + int(np.ceil(3 * length)) for length in moved)
    assert caplog.messages == []


@pytest.mark.parametrize("name", GRIDS)
def test_forward_then_inverse_returns_every_point(name):
    grid = GRIDS[name]
    extended, larger = transforms.tapered(a_field(grid), grid)
    forward = transforms.from_voxels(extended, larger)
    backward = transforms.from_voxels(inverse.inverse_displacement(extended), larger)
    rng = np.random.default_rng(0)
    for index in rng.uniform(0, np.array(grid.size) - 1, (200, 3)):
        point = grid.point(index)
        assert np.linalg.norm(np.subtract(backward.TransformPoint(forward.TransformPoint(point)), point)) < 0.5


def test_an_inverse_for_which_a_gpu_has_no_memory_is_computed_on_the_cpu(monkeypatch):
    extended, _ = transforms.tapered(a_field(GRIDS["straight"]), GRIDS["straight"])
    expected, invert = inverse.inverse_displacement(extended), fields.invert

    def full(displacement):
        if displacement.device.type == "meta":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return invert(displacement)

    monkeypatch.setattr(fields, "invert", full)
    assert np.array_equal(inverse.inverse_displacement(extended, torch.device("meta")), expected)


def test_composition_applies_the_first_first_and_stays_flat():
    shift, stretch = sitk.TranslationTransform(3, (1.0, 2.0, 3.0)), sitk.ScaleTransform(3, (2.0, 2.0, 2.0))
    both = transforms.then(transforms.then(shift, stretch), shift)
    assert both.TransformPoint((0.0, 0.0, 0.0)) == pytest.approx((3.0, 6.0, 9.0))
    assert both.GetNumberOfTransforms() == 3


def test_the_inverse_of_a_linear_transform_is_exact_and_of_any_other_close():
    affine = sitk.AffineTransform(3)
    affine.SetMatrix((1.1, 0.1, 0, 0, 0.9, 0, 0, 0.05, 1))
    affine.SetTranslation((5.0, -3.0, 2.0))
    grid = GRIDS["straight"]
    point = (3.0, 30.0, 40.0)
    back = inverse.inverse_on(affine, grid).TransformPoint(affine.TransformPoint(point))
    assert back == pytest.approx(point, abs=1e-9)
    extended, larger = transforms.tapered(a_field(grid), grid)
    curved = transforms.from_voxels(extended, larger)
    back = inverse.inverse_on(curved, larger).TransformPoint(curved.TransformPoint(point))
    assert np.linalg.norm(np.subtract(back, point)) < 0.2


def test_the_inverse_of_a_spline_is_found_where_the_spline_is():
    """Not where the moving image is: before a shift, that is half a metre off."""
    spline = sitk.BSplineTransform(3, 3)
    spline.SetTransformDomainOrigin((-500.0, 0.0, 0.0))
    spline.SetTransformDomainPhysicalDimensions((90.0, 100.0, 110.0))
    spline.SetTransformDomainMeshSize((3, 3, 3))
    spline.SetParameters(np.random.default_rng(0).uniform(-6, 6, spline.GetNumberOfParameters()))
    both = transforms.then(spline, sitk.TranslationTransform(3, (500.0, 0.0, 0.0)))
    back = inverse.inverse_on(both, GRIDS["straight"])
    for point in ((-455.0, 50.0, 55.0), (-440.0, 40.0, 70.0)):
        assert np.linalg.norm(np.subtract(spline.TransformPoint(point), point)) > 1
        assert back.TransformPoint(both.TransformPoint(point)) == pytest.approx(point, abs=0.2)


def test_a_composite_with_a_field_goes_through_its_file(tmp_path):
    grid = GRIDS["oblique"]
    extended, larger = transforms.tapered(a_field(grid), grid)
    affine = sitk.AffineTransform(3)
    affine.SetTranslation((5.0, -3.0, 2.0))
    written = transforms.then(transforms.from_voxels(extended, larger), affine)
    sitk.WriteTransform(written, str(tmp_path / "transform.h5"))
    read = transforms.read_transform(tmp_path / "transform.h5")
    point = grid.point((5, 6, 7))
    assert read.TransformPoint(point) == pytest.approx(written.TransformPoint(point), abs=1e-9)


def test_unusable_transform_files_are_refused(tmp_path):
    (tmp_path / "text.tfm").write_text("nothing")
    with pytest.raises(InputError, match="cannot be read as a transform"):
        transforms.read_transform(tmp_path / "text.tfm")
    sitk.WriteTransform(sitk.Euler2DTransform(), str(tmp_path / "flat.tfm"))
    with pytest.raises(InputError, match="2-D transform"):
        transforms.read_transform(tmp_path / "flat.tfm")


def test_two_threads_may_read_and_write_transforms_at_once(tmp_path):
    """ITK's HDF5 crashes the process where two are in it, so it is another process that tries."""
    code = f"""
import threading
from pathlib import Path
import numpy as np
from mirrba import transforms
from mirrba.geometry import Geometry
grid = Geometry((24, 24, 24), (4.0, 4.0, 4.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
field = transforms.from_voxels(np.zeros((24, 24, 24, 3)), grid)

def work(number):
    path = Path({str(tmp_path)!r}) / f"{{number}}.h5"
    for _ in range(40):
        transforms.write_transform(field, path)
        transforms.read_transform(path)

threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""
    module = Path(__file__).parents[1] / "MIRRBARegistration"
    environment = {**os.environ, "PYTHONPATH": str(module)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")


LINEAR = {  # ITK inverts the first, but not the two others
    "VersorRigid3DTransform": "0 0 0.1 5 6 7",
    "ScaleVersor3DTransform": "0 0 0.1 5 6 7 1.1 0.9 1.05",
    "ScaleSkewVersor3DTransform": "0 0 0.1 5 6 7 1.1 0.9 1.05 0.1 0 0 0 0 0",
}


def in_a_file(kind: str, parameters: str, path: Path) -> Path:
    path.write_text(
        f"#Insight Transform File V1.0\n#Transform 0\nTransform: {kind}_double_3_3\n"
        f"Parameters: {parameters}\nFixedParameters: 10 20 30\n"
    )
    return path


@pytest.mark.parametrize("kind", LINEAR)
def test_every_kind_of_linear_transform_is_read_and_inverted(tmp_path, kind):
    transform = transforms.read_transform(in_a_file(kind, LINEAR[kind], tmp_path / "start.tfm"))
    back = inverse.inverse_on(transform, GRIDS["straight"])
    for point in ((0.0, 0.0, 0.0), (100.0, -50.0, 400.0)):
        assert np.allclose(back.TransformPoint(transform.TransformPoint(point)), point, atol=1e-6)


def test_a_kind_that_simpleitk_does_not_know_cannot_be_read(tmp_path):
    path = in_a_file("ComposeScaleSkewVersor3DTransform", "0 0 0.1 5 6 7 1.1 0.9 1.05 0.1 0 0", tmp_path / "start.tfm")
    with pytest.raises(InputError, match="cannot be read as a transform"):
        transforms.read_transform(path)
