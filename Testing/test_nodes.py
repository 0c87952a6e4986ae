"""Nodes to files and back, on real MRML. The truth is SimpleITK's, or written down in the test."""

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import vtk
from mirrba.geometry import Geometry
from mirrba.segments import read_segmentation
from MIRRBARegistrationLib import InputError, nodes
from MIRRBARegistrationLib.viewMemory import ViewMemory
from vtk.util.numpy_support import numpy_to_vtk

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
OBLIQUE = sitk.Euler3DTransform((0, 0, 0), 0.2, -0.3, 0.5).GetMatrix()
DIRECTIONS = {
    "axial": (1, 0, 0, 0, 1, 0, 0, 0, 1),
    "flipped": (-1, 0, 0, 0, 1, 0, 0, 0, -1),
    "coronal": (1, 0, 0, 0, 0, 1, 0, -1, 0),
    "oblique": OBLIQUE,
}


@pytest.fixture(params=DIRECTIONS)
def direction(request):
    return DIRECTIONS[request.param]


def blobs(direction=OBLIQUE, size=(30, 34, 38), spacing=(4.0, 3.5, 3.0), origin=(-41.5, 17.25, 103.0), seed=0):
    """A smooth image that is zero at its border, range 0 to 1."""
    rng = np.random.default_rng(seed)
    array = np.zeros(size[::-1], np.float32)
    array[8:-8, 8:-8, 8:-8] = rng.random([n - 16 for n in size[::-1]])
    image = sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(array), 1.5)
    image = image / float(sitk.GetArrayViewFromImage(image).max())
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    return image


def load(application, image, tmp_path, name="PET"):
    path = tmp_path / f"{name}.nrrd"
    sitk.WriteImage(image, str(path))
    return application.loadVolume(path, name)


def linearTransform(application, matrix, name="parent"):
    node = application.scene.AddNewNodeByClass("vtkMRMLTransformNode", name)
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.asarray(matrix, float)))
    return node


def rigid(x, y, z, translation) -> np.ndarray:
    """A world-to-world matrix, RAS, mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(sitk.Euler3DTransform((0, 0, 0), x, y, z).GetMatrix(), (3, 3))
    matrix[:3, 3] = translation
    return matrix


def ijkToLPS(image) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) @ np.diag(image.GetSpacing())
    matrix[:3, 3] = image.GetOrigin()
    return matrix


def field(image, amplitude=8.0, seed=1) -> sitk.DisplacementFieldTransform:
    """A displacement field over the image at a coarser grid, rough enough for the interpolation to matter."""
    size = [n // 3 + 3 for n in image.GetSize()]
    array = np.random.default_rng(seed).uniform(-amplitude, amplitude, (*size[::-1], 3))
    grid = sitk.GetImageFromArray(array, isVector=True)
    grid.SetSpacing([3 * s for s in image.GetSpacing()])
    grid.SetDirection(image.GetDirection())
    grid.SetOrigin(image.TransformContinuousIndexToPhysicalPoint((-1.5, -1.5, -1.5)))
    return sitk.DisplacementFieldTransform(grid)


def affineThenField(image) -> sitk.CompositeTransform:
    affine = sitk.AffineTransform(3)
    affine.SetMatrix((1.02, 0.03, 0.0, -0.03, 0.97, 0.05, 0.0, 0.02, 1.01))
    affine.SetTranslation((4.0, -3.0, 2.0))
    affine.SetCenter(image.TransformContinuousIndexToPhysicalPoint([n / 2 for n in image.GetSize()]))
    return sitk.CompositeTransform([affine, field(image)])


def resampledBySlicer(application, moving, fixed, transformNode) -> np.ndarray:
    moving.SetAndObserveTransformNodeID(transformNode.GetID())
    warped = application.logics["Volumes"].ResampleVolumeToReferenceVolume(moving, fixed)
    return slicer.util.arrayFromVolume(warped)


# Volumes


@pytest.mark.parametrize("pixel", [sitk.sitkFloat32, sitk.sitkInt16, sitk.sitkFloat64])
def test_a_volume_goes_through_unchanged(application, tmp_path, direction, pixel):
    image = sitk.Cast(blobs(direction) * 30000, pixel)
    nodes.exportVolume(load(application, image, tmp_path), tmp_path / "out.nrrd")
    exported = sitk.ReadImage(str(tmp_path / "out.nrrd"))
    assert exported.GetPixelID() == pixel
    np.testing.assert_array_equal(sitk.GetArrayFromImage(exported), sitk.GetArrayFromImage(image))
    np.testing.assert_allclose(ijkToLPS(exported), ijkToLPS(image), atol=1e-10)


def test_parents_that_keep_right_angles_are_composed_into_the_geometry(application, tmp_path, direction):
    image = blobs(direction)
    volume = load(application, image, tmp_path)
    outer = linearTransform(application, rigid(0.3, 0.1, -0.4, (5, -60, 20)))
    inner = linearTransform(application, rigid(-0.1, 0.7, 0.2, (0, 3, -8)) @ np.diag([1.5, 1.5, 1.5, 1]))
    inner.SetAndObserveTransformNodeID(outer.GetID())
    volume.SetAndObserveTransformNodeID(inner.GetID())
    before = slicer.util.arrayFromVTKMatrix(nodes.volumeToWorldMatrix(volume))

    nodes.exportVolume(volume, tmp_path / "out.nrrd")

    exported = sitk.ReadImage(str(tmp_path / "out.nrrd"))
    toWorld = slicer.util.arrayFromTransformMatrix(outer) @ slicer.util.arrayFromTransformMatrix(inner)
    expected = RAS_TO_LPS @ toWorld @ RAS_TO_LPS @ ijkToLPS(image)
    np.testing.assert_allclose(ijkToLPS(exported), expected, atol=1e-9)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(exported), sitk.GetArrayFromImage(image))
    assert volume.GetParentTransformNode() is inner
    np.testing.assert_array_equal(slicer.util.arrayFromVTKMatrix(nodes.volumeToWorldMatrix(volume)), before)


def test_a_parent_that_shears_is_refused_with_the_remedy(application, tmp_path):
    volume = load(application, blobs(), tmp_path)
    sheared = np.eye(4)
    sheared[0, 1] = 0.05
    volume.SetAndObserveTransformNodeID(linearTransform(application, sheared, "my affine").GetID())
    with pytest.raises(InputError, match="'PET' lies under a transform that shears it; take it out of 'my affine'"):
        nodes.exportVolume(volume, tmp_path / "out.nrrd")


def test_a_non_linear_parent_is_refused_with_the_remedy(application, tmp_path):
    image = blobs()
    volume = load(application, image, tmp_path)
    sitk.WriteTransform(field(image), str(tmp_path / "field.h5"))
    volume.SetAndObserveTransformNodeID(application.loadTransform(tmp_path / "field.h5", "bend").GetID())
    with pytest.raises(InputError, match="'PET' lies under a non-linear transform; take it out of 'bend'"):
        nodes.exportVolume(volume, tmp_path / "out.nrrd")


# Segmentations


def overlappingMasks(image) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    shape = image.GetSize()[::-1]
    return {name: rng.random(shape) < share for name, share in (("brain", 0.3), ("GTV 1", 0.05), ("bladder", 0.2))}


def segmentationOf(application, image, masks, tmp_path, name="baseline segments"):
    """A segmentation node with these masks, made by Slicer from label map volumes."""
    segmentation = application.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    for segmentName, mask in masks.items():
        label = sitk.GetImageFromArray(mask.astype(np.uint8))
        label.CopyInformation(image)
        sitk.WriteImage(label, str(tmp_path / "label.nrrd"))
        labelVolume = application.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
        storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
        storage.SetFileName(str(tmp_path / "label.nrrd"))
        assert storage.ReadData(labelVolume)
        known = set(segmentation.GetSegmentation().GetSegmentIDs())
        slicer.vtkSlicerSegmentationsModuleLogic.ImportLabelmapToSegmentationNode(labelVolume, segmentation)
        (new,) = set(segmentation.GetSegmentation().GetSegmentIDs()) - known
        segmentation.GetSegmentation().GetSegment(new).SetName(segmentName)
        application.scene.RemoveNode(labelVolume)
    application.subjectHierarchy.CreateItem(application.subjectHierarchy.GetSceneItemID(), segmentation)
    return segmentation


def masksInNode(segmentation, volume) -> dict[str, np.ndarray]:
    """The masks of a segmentation node on the grid of a volume node, as Slicer exports them."""
    scene, masks = segmentation.GetScene(), {}
    for segmentID in segmentation.GetSegmentation().GetSegmentIDs():
        chosen = vtk.vtkStringArray()
        chosen.InsertNextValue(segmentID)
        label = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
        assert slicer.vtkSlicerSegmentationsModuleLogic.ExportSegmentsToLabelmapNode(
            segmentation, chosen, label, volume
        )
        name = segmentation.GetSegmentation().GetSegment(segmentID).GetName()
        masks[name] = slicer.util.arrayFromVolume(label) > 0
        scene.RemoveNode(label)
    return masks


def masksInFile(path, image) -> dict[str, np.ndarray]:
    laid = read_segmentation(path).onto(Geometry.from_image(image))
    return {segment.name: segment.mask for segment in laid.segments}


def assertSameMasks(found, expected):
    assert list(found) == list(expected)
    for name, mask in expected.items():
        np.testing.assert_array_equal(found[name], mask, err_msg=name)


def test_overlapping_segments_are_exported_with_their_names(application, tmp_path, direction):
    image = blobs(direction)
    masks = overlappingMasks(image)
    segmentation = segmentationOf(application, image, masks, tmp_path)
    segmentation.CreateClosedSurfaceRepresentation()
    layers = segmentation.GetSegmentation().GetNumberOfLayers()
    nodes.exportSegmentation(segmentation, tmp_path / "out.seg.nrrd", load(application, image, tmp_path))
    assertSameMasks(masksInFile(tmp_path / "out.seg.nrrd", image), masks)
    assert segmentation.GetSegmentation().GetNumberOfLayers() == layers
    assert segmentation.GetSegmentation().ContainsRepresentation("Closed surface")


def test_a_chosen_subset_of_the_segments_is_exported(application, tmp_path):
    image = blobs()
    masks = overlappingMasks(image)
    segmentation = segmentationOf(application, image, masks, tmp_path)
    chosen = [segmentation.GetSegmentation().GetSegmentIdBySegmentName(name) for name in ("GTV 1", "bladder")]
    nodes.exportSegmentation(segmentation, tmp_path / "out.seg.nrrd", load(application, image, tmp_path), chosen)
    del masks["brain"]
    assertSameMasks(masksInFile(tmp_path / "out.seg.nrrd", image), masks)
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 3


def test_an_unknown_segment_and_an_empty_segmentation_are_refused(application, tmp_path):
    image = blobs()
    volume = load(application, image, tmp_path)
    segmentation = segmentationOf(application, image, overlappingMasks(image), tmp_path)
    with pytest.raises(InputError, match="no segment with the identifier 'spleen'"):
        nodes.exportSegmentation(segmentation, tmp_path / "out.seg.nrrd", volume, ["spleen"])
    empty = application.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "nothing")
    with pytest.raises(InputError, match="'nothing' has no segments"):
        nodes.exportSegmentation(empty, tmp_path / "out.seg.nrrd", volume)


def test_a_segmentation_is_exported_where_its_parent_puts_it(application, tmp_path):
    image = blobs()
    masks = overlappingMasks(image)
    volume = load(application, image, tmp_path)
    segmentation = segmentationOf(application, image, masks, tmp_path)
    parent = linearTransform(application, rigid(0.4, 0, 0.2, (30, 1, 2)))
    for node in (volume, segmentation):
        node.SetAndObserveTransformNodeID(parent.GetID())
    nodes.exportVolume(volume, tmp_path / "moved.nrrd")
    nodes.exportSegmentation(segmentation, tmp_path / "moved.seg.nrrd", volume)
    assertSameMasks(masksInFile(tmp_path / "moved.seg.nrrd", sitk.ReadImage(str(tmp_path / "moved.nrrd"))), masks)
    assert segmentation.GetParentTransformNode() is parent


def test_segments_that_are_surfaces_only_become_label_maps_on_the_volumes_grid(application, tmp_path):
    image = blobs(size=(40, 40, 40), spacing=(2, 2, 2))
    centre = np.array(image.TransformContinuousIndexToPhysicalPoint((20, 20, 20))) * (-1, -1, 1)
    sphere = vtk.vtkSphereSource()
    sphere.SetCenter(centre)
    sphere.SetRadius(25)
    sphere.SetThetaResolution(60)
    sphere.SetPhiResolution(60)
    sphere.Update()
    segmentation = application.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "surface")
    segmentation.SetSourceRepresentationToClosedSurface()
    segmentation.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "ball", (1, 0, 0))
    nodes.exportSegmentation(segmentation, tmp_path / "out.seg.nrrd", load(application, image, tmp_path))
    mask = masksInFile(tmp_path / "out.seg.nrrd", image)["ball"]
    index = np.stack(np.indices(mask.shape)[::-1], axis=-1)
    ball = np.linalg.norm((index - 20) * 2.0, axis=-1) < 25
    assert 2 * (mask & ball).sum() / (mask.sum() + ball.sum()) > 0.97
    assert not segmentation.GetSegmentation().ContainsRepresentation("Binary labelmap")


# Initial transforms


def bspline(image) -> sitk.BSplineTransform:
    transform = sitk.BSplineTransformInitializer(image, [3, 3, 3])
    count = len(transform.GetParameters())
    transform.SetParameters(np.random.default_rng(2).uniform(-8, 8, count))
    return transform


def thinPlateSpline(image):
    corners = np.array(
        [image.TransformContinuousIndexToPhysicalPoint((i, j, k)) for i in (0, 25) for j in (0, 30) for k in (0, 30)]
    ) * (-1, -1, 1)
    shifted = corners + np.random.default_rng(3).uniform(-5, 5, corners.shape)
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    source.SetData(numpy_to_vtk(corners, deep=True))
    target.SetData(numpy_to_vtk(shifted, deep=True))
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetBasisToR()
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    return spline


def initialTransform(application, kind, image, tmp_path):
    if kind == "linear":
        return linearTransform(application, rigid(0.2, 0.1, 0.4, (5, -6, 7)))
    if kind == "thin plate spline":
        node = application.scene.AddNewNodeByClass("vtkMRMLTransformNode", kind)
        node.SetAndObserveTransformToParent(thinPlateSpline(image))
        return node
    made = {"B-spline": bspline, "composite": affineThenField}.get(kind, field)(image)
    sitk.WriteTransform(made, str(tmp_path / "initial.h5"))
    volume = load(application, image, tmp_path)
    return nodes.placeTransform(nodes.readTransform(tmp_path / "initial.h5"), None, volume, volume)


@pytest.mark.parametrize(
    ("kind", "toleranceMm"),
    [
        ("linear", 1e-9),
        ("B-spline", 1e-3),
        ("grid", 1e-3),
        ("composite", 1e-3),
        ("thin plate spline", 0.1),
    ],
)
@pytest.mark.parametrize("underParent", [False, True])
def test_itk_reads_an_initial_transform_as_slicer_applies_it(application, tmp_path, kind, toleranceMm, underParent):
    image = blobs()
    transform = initialTransform(application, kind, image, tmp_path)
    if underParent:
        parent = linearTransform(application, rigid(0, 0.02, 0, (3, 2, 1)), "outer")
        transform.SetAndObserveTransformNodeID(parent.GetID())
    nodes.exportTransform(transform, tmp_path / "exported.h5", load(application, image, tmp_path))
    assertSameMap(sitk.ReadTransform(str(tmp_path / "exported.h5")), transform, image, toleranceMm)


def assertSameMap(itk, node, image, toleranceMm):
    """ITK's map of fixed to moving points, LPS, is the node's transform from the world, RAS.

    Well inside the image: outside its domain a B-spline moves nothing in ITK, and is extended by Slicer.
    """
    fromWorld = vtk.vtkGeneralTransform()
    node.GetTransformFromWorld(fromWorld)
    rng = np.random.default_rng(7)
    for index in rng.uniform(6, np.array(image.GetSize()) - 7, (200, 3)):
        point = np.array(image.TransformContinuousIndexToPhysicalPoint(index))
        expected = np.array(fromWorld.TransformPoint(point * (-1, -1, 1))) * (-1, -1, 1)
        np.testing.assert_allclose(itk.TransformPoint(point), expected, atol=toleranceMm)


def test_the_inverse_of_a_smooth_field_is_exported_by_sampling(application, tmp_path):
    image = blobs()
    index = np.stack(np.indices(image.GetSize()[::-1])[::-1], axis=-1)
    smooth = sitk.GetImageFromArray(6 * np.sin(index / 8), isVector=True)
    smooth.CopyInformation(image)
    sitk.WriteTransform(sitk.DisplacementFieldTransform(smooth), str(tmp_path / "field.h5"))
    transform = application.loadTransform(tmp_path / "field.h5", "to be inverted")
    transform.Inverse()
    nodes.exportTransform(transform, tmp_path / "exported.h5", load(application, image, tmp_path))
    assertSameMap(sitk.ReadTransform(str(tmp_path / "exported.h5")), transform, image, 0.15)


# Results


@pytest.mark.parametrize("make", [field, affineThenField])
@pytest.mark.parametrize("filled", [False, True], ids=["new node", "given node"])
def test_slicer_resamples_with_the_transform_as_simpleitk_does(application, tmp_path, direction, make, filled):
    fixedImage = blobs(direction, size=(28, 30, 33), spacing=(4, 4, 3.5), origin=(-38, 12, 100))
    movingImage = blobs(direction)
    fixed = load(application, fixedImage, tmp_path, "follow-up")
    moving = load(application, movingImage, tmp_path, "baseline")
    transform = make(fixedImage)
    sitk.WriteTransform(transform, str(tmp_path / "transform.h5"))
    target = application.scene.AddNewNodeByClass("vtkMRMLTransformNode", "mine") if filled else None

    node = nodes.placeTransform(nodes.readTransform(tmp_path / "transform.h5"), target, fixed, moving)

    expected = sitk.GetArrayFromImage(sitk.Resample(movingImage, fixedImage, transform, sitk.sitkLinear))
    assert expected.max() > 0.5
    np.testing.assert_allclose(resampledBySlicer(application, moving, fixed, node), expected, atol=1e-3)
    if filled:
        assert node is target


def test_slicers_own_reader_interpolates_otherwise(application, tmp_path):
    """What sets the mode in readTransform is needed: without it the same comparison fails."""
    image = blobs()
    volume = load(application, image, tmp_path)
    sitk.WriteTransform(field(image), str(tmp_path / "transform.h5"))
    node = application.loadTransform(tmp_path / "transform.h5", "cubic")
    expected = sitk.GetArrayFromImage(sitk.Resample(image, image, field(image), sitk.sitkLinear))
    assert np.abs(resampledBySlicer(application, volume, volume, node) - expected).max() > 0.02


def test_outputs_are_named_referenced_and_placed_beside_the_fixed_volume(application, tmp_path):
    hierarchy = application.subjectHierarchy
    study = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "follow-up study")
    image = blobs()
    fixed, moving = (load(application, image, tmp_path, name) for name in ("follow-up", "baseline"))
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(fixed), study)
    segmentation = segmentationOf(application, image, overlappingMasks(image), tmp_path, "lesions")
    sitk.WriteTransform(field(image), str(tmp_path / "transform.h5"))
    nodes.exportSegmentation(segmentation, tmp_path / "out.seg.nrrd", moving)

    transform = nodes.placeTransform(nodes.readTransform(tmp_path / "transform.h5"), None, fixed, moving)
    warped = nodes.placeVolume(nodes.readVolume(tmp_path / "baseline.nrrd"), None, fixed, moving)
    segments = nodes.placeSegmentation(nodes.readSegmentation(tmp_path / "out.seg.nrrd"), None, fixed, segmentation)

    assert transform.GetName() == "baseline to follow-up transform"
    assert warped.GetName() == "baseline to follow-up"
    assert segments.GetName() == "lesions to follow-up"
    assert transform.GetNodeReference("spatialRegistrationFixed") is fixed
    assert transform.GetNodeReference("spatialRegistrationMoving") is moving
    for node in (transform, warped, segments):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
        assert node.GetStorageNode() is None  # the job folder's file is gone by the time the scene is saved


def test_the_warped_volume_looks_like_the_moving_one(application, tmp_path):
    image = blobs()
    fixed, moving = (load(application, image, tmp_path, name) for name in ("follow-up", "baseline"))
    display = moving.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLPETProceduralColorNodePET-Heat")
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0.1, 0.6)
    unit = slicer.vtkCodedEntry()
    unit.SetValueSchemeMeaning("{SUVbw}g/ml", "UCUM", "Standardized Uptake Value body weight")
    moving.SetVoxelValueUnits(unit)

    warped = nodes.placeVolume(nodes.readVolume(tmp_path / "baseline.nrrd"), None, fixed, moving)

    assert warped.GetDisplayNode() is not display
    assert warped.GetDisplayNode().GetColorNodeID() == "vtkMRMLPETProceduralColorNodePET-Heat"
    assert not warped.GetDisplayNode().GetAutoWindowLevel()
    assert warped.GetDisplayNode().GetWindowLevelMin() == pytest.approx(0.1)
    assert warped.GetDisplayNode().GetWindowLevelMax() == pytest.approx(0.6)
    assert warped.GetVoxelValueUnits().GetCodeMeaning() == "Standardized Uptake Value body weight"
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(warped), sitk.GetArrayFromImage(image))


@pytest.mark.parametrize("filled", [False, True], ids=["new node", "given node"])
@pytest.mark.parametrize("moved", [False, True], ids=["fixed in place", "fixed under a parent"])
def test_warped_segments_keep_their_masks_on_the_fixed_grid(application, tmp_path, direction, filled, moved):
    image = blobs(direction)
    masks = overlappingMasks(image)
    fixed = load(application, image, tmp_path)
    source = segmentationOf(application, image, masks, tmp_path)
    if moved:
        parent = linearTransform(application, rigid(0.4, 0, 0.2, (30, 1, 2)))
        fixed.SetAndObserveTransformNodeID(parent.GetID())
        source.SetAndObserveTransformNodeID(parent.GetID())
    nodes.exportSegmentation(source, tmp_path / "warped.seg.nrrd", fixed)
    target = application.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine") if filled else None

    node = nodes.placeSegmentation(nodes.readSegmentation(tmp_path / "warped.seg.nrrd"), target, fixed, source)

    assertSameMasks(masksInNode(node, fixed), masks)
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is fixed


def test_a_given_output_volume_is_taken_out_of_its_parent(application, tmp_path):
    """Results are in world coordinates."""
    image = blobs()
    fixed, moving, mine = (load(application, image, tmp_path, name) for name in ("fixed", "moving", "mine"))
    mine.SetAndObserveTransformNodeID(linearTransform(application, rigid(0, 0, 0, (50, 0, 0))).GetID())
    assert nodes.placeVolume(nodes.readVolume(tmp_path / "moving.nrrd"), mine, fixed, moving) is mine
    assert mine.GetParentTransformNode() is None


def test_the_warped_volume_of_a_reviewed_one_gets_the_user_s_colours_back(application, tmp_path):
    """The moving volume is magenta when it is registered again; what the user had is kept on its display node."""
    fixed, moving = (load(application, blobs(), tmp_path, name) for name in ("follow-up", "baseline"))
    color = moving.GetDisplayNode().GetColorNodeID()
    memory = ViewMemory()
    memory.remember(moving)
    moving.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeMagenta")
    warped = nodes.placeVolume(nodes.readVolume(tmp_path / "baseline.nrrd"), None, fixed, moving)
    memory.giveBackDisplays()
    assert warped.GetDisplayNode().GetColorNodeID() == color is not None


def test_a_display_without_colours_gets_none_back(application, tmp_path):
    display = load(application, blobs(), tmp_path).GetDisplayNode()
    display.SetAndObserveColorNodeID("")
    memory = ViewMemory()
    memory.remember(display.GetDisplayableNode())
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGreen")
    memory.giveBackDisplays()
    assert display.GetColorNode() is None


@pytest.mark.parametrize("filled", [False, True], ids=["new node", "given node"])
def test_a_segment_that_is_hidden_on_the_baseline_is_hidden_on_the_warped_copy(application, tmp_path, filled):
    image = blobs()
    fixed = load(application, image, tmp_path)
    source = segmentationOf(application, image, overlappingMasks(image), tmp_path)
    hidden, shown = source.GetSegmentation().GetSegmentIDs()[:2]
    source.GetDisplayNode().SetSegmentVisibility(hidden, False)
    nodes.exportSegmentation(source, tmp_path / "warped.seg.nrrd", fixed)
    target = application.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine") if filled else None
    warped = nodes.placeSegmentation(nodes.readSegmentation(tmp_path / "warped.seg.nrrd"), target, fixed, source)
    assert not warped.GetDisplayNode().GetSegmentVisibility(hidden)
    assert warped.GetDisplayNode().GetSegmentVisibility(shown)
