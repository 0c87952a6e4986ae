"""Jacobian map and checkerboard against SimpleITK and against known transforms."""

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import vtk
from MIRRBARegistrationLib import derivedVolumes
from MIRRBARegistrationLib.lossPlot import LossPlot
from MIRRBARegistrationLib.overlay import petWindow
from MIRRBARegistrationLib.sampleData import makePhantomPair

OBLIQUE = vtk.vtkTransform()
OBLIQUE.RotateX(20)
OBLIQUE.RotateZ(-35)


def volume(scene, shape=(12, 14, 16), spacing=6.0, direction=None, seed=0):
    voxels = np.random.default_rng(seed).random(shape).astype(np.float32)
    matrix = vtk.vtkMatrix4x4()
    if direction is not None:
        matrix.DeepCopy(direction.GetMatrix())
    for row in range(3):
        for column in range(3):
            matrix.SetElement(row, column, spacing * matrix.GetElement(row, column))
        matrix.SetElement(row, 3, 10.0 * row - 7.0)
    node = slicer.util.addVolumeFromArray(voxels, matrix)
    node.CreateDefaultDisplayNodes()
    return node


@pytest.mark.parametrize("direction", [None, OBLIQUE], ids=["straight", "oblique"])
def test_a_scaling_changes_volume_everywhere_alike(application, direction):
    fixed = volume(application.scene, direction=direction)
    scaling = vtk.vtkTransform()
    scaling.RotateY(15)
    scaling.Scale(1.1, 0.9, 1.2)
    node = application.scene.AddNewNodeByClass("vtkMRMLTransformNode")
    node.SetAndObserveTransformFromParent(scaling)
    found = slicer.util.arrayFromVolume(derivedVolumes.jacobianMap(node, fixed))
    np.testing.assert_allclose(found, 1.1 * 0.9 * 1.2, rtol=1e-4)


def test_the_determinant_is_that_of_simpleitk(application):
    rng = np.random.default_rng(1)
    noise = [sitk.GetImageFromArray(component) for component in rng.normal(size=(3, 12, 13, 14))]
    smooth = [sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(component, 2.0)) for component in noise]
    displacement = 20 * np.stack(smooth, axis=-1)
    image = sitk.GetImageFromArray(displacement, isVector=True)
    image.SetSpacing((2.0, 3.0, 4.0))
    truth = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(image))
    found = derivedVolumes.jacobianDeterminant(displacement, np.diag([2.0, 3.0, 4.0]))
    inner = (slice(1, -1),) * 3
    assert np.ptp(truth[inner]) > 0.5
    np.testing.assert_allclose(found[inner], truth[inner], atol=1e-4)


def test_the_jacobian_map_lies_over_the_fixed_volume(application):
    fixed = volume(application.scene, direction=OBLIQUE)
    node = application.scene.AddNewNodeByClass("vtkMRMLTransformNode")
    bounds, wanted = [0.0] * 6, [0.0] * 6
    derivedVolumes.jacobianMap(node, fixed).GetRASBounds(bounds)
    fixed.GetRASBounds(wanted)
    np.testing.assert_allclose(bounds, wanted, atol=6.0)


def test_a_checkerboard_takes_every_voxel_from_one_of_the_two(application):
    pair = makePhantomPair(12.0)
    fixed, moving = pair.followUpVolume, pair.baselineVolume
    found = slicer.util.arrayFromVolume(derivedVolumes.checkerboard(fixed, moving))
    sitkFixed, sitkMoving = (toSitk(node) for node in (fixed, moving))
    resampled = sitk.GetArrayFromImage(sitk.Resample(sitkMoving, sitkFixed, sitk.Transform(), sitk.sitkLinear))
    fromFixed = slicer.util.arrayFromVolume(fixed) / petWindow(fixed)[1]
    isFixed = np.isclose(found, fromFixed, atol=1e-5)
    rest = found[~isFixed]
    other = resampled[~isFixed]
    scale = np.vdot(rest, other) / np.vdot(other, other)
    np.testing.assert_allclose(rest, scale * other, atol=0.02 * rest.max())
    assert 0.2 < isFixed.mean() < 0.9  # air is alike in both


def test_helper_nodes_are_hidden_when_they_come_and_not_saved(application):
    """Slicer's lists and trees ask once: when a node is added."""
    hidden = []

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onAdded(caller, event, node):
        hidden.append(node.GetHideFromEditors())

    fixed, moving = volume(application.scene), volume(application.scene, seed=2)
    application.scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, onAdded)
    made = [derivedVolumes.checkerboard(fixed, moving)]
    plot = LossPlot()
    plot.add({"loss": -0.5, "stage": "start 1 of 4", "iteration": 1})
    made += [slicer.util.getNode(name) for name in ("MIRRBA loss", "Loss")]
    assert len(hidden) >= 4
    assert all(hidden)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(application.scene)
    for node in made:
        assert not node.GetSaveWithScene()
        assert not hierarchy.GetItemByDataNode(node)


def toSitk(node) -> sitk.Image:
    image = sitk.GetImageFromArray(slicer.util.arrayFromVolume(node))
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    ras = np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(3)])
    lps = np.diag([-1.0, -1.0, 1.0]) @ ras
    spacing = np.linalg.norm(lps[:, :3], axis=0)
    image.SetSpacing(spacing)
    image.SetDirection((lps[:, :3] / spacing).ravel())
    image.SetOrigin(lps[:, 3])
    return image
