"""Volume, segmentation and transform nodes to files and back.

Files are in world coordinates: a parent transform is composed into the exported geometry. It must leave the axes at
right angles (translations, rotations, scalings along the axes), so that nothing is resampled; any other is refused.
Files are LPS, as ITK wants it; nodes are RAS, as MRML wants it; both in mm. The storage nodes convert.

Export never changes a node or the scene. `read…` gives nodes that are in no scene yet, `place…` puts them there.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import slicer
import vtk

from .errors import InputError, RegistrationError

SHEAR_TOLERANCE = 1e-4
"""The largest cosine between two axes that still counts as a right angle."""
SAMPLED_TRANSFORM_SPACING_MM = 4.0
"""Grid on which a transform is sampled that no ITK transform can express."""
_BINARY_LABELMAP = "Binary labelmap"


# Export


def exportVolume(volumeNode, path: Path) -> None:
    """Write a scalar volume, voxels unchanged, in world coordinates.

    Errors: InputError for a node that cannot be written as it lies, RegistrationError where the disk is full.
    """
    worldVolume = _volumeInWorld(volumeNode)
    _write(slicer.vtkMRMLVolumeArchetypeStorageNode(), worldVolume, path, volumeNode.GetName())


def exportSegmentation(segmentationNode, path: Path, referenceVolume, segmentIDs: list[str] | None = None) -> None:
    """Write a segmentation, or some of its segments, as .seg.nrrd in world coordinates; overlaps are kept.

    Segments that exist as surfaces only are made into label maps on the grid of the reference volume.
    Errors: as `exportVolume`.
    """
    copy = slicer.vtkMRMLSegmentationNode()
    copy.SetName(segmentationNode.GetName())
    copy.GetSegmentation().DeepCopy(segmentationNode.GetSegmentation())
    copy.GetSegmentation().InvalidateNonSourceRepresentations()  # else surfaces are computed anew, to no use
    _keepSegments(copy.GetSegmentation(), segmentIDs)
    if copy.GetSegmentation().GetNumberOfSegments() == 0:
        raise InputError(f"The segmentation '{segmentationNode.GetName()}' has no segments; add one or choose another.")
    if segmentationNode.GetParentTransformNode() is not None:
        copy.ApplyTransformMatrix(_parentToWorld(segmentationNode))
    _makeBinaryLabelmap(copy.GetSegmentation(), referenceVolume, segmentationNode.GetName())
    for segmentID in copy.GetSegmentation().GetSegmentIDs():
        matrix = vtk.vtkMatrix4x4()
        copy.GetSegmentation().GetSegment(segmentID).GetRepresentation(_BINARY_LABELMAP).GetImageToWorldMatrix(matrix)
        _checkRightAngles(matrix, segmentationNode)
    _write(slicer.vtkMRMLSegmentationStorageNode(), copy, path, segmentationNode.GetName())


def exportTransform(transformNode, path: Path, fixedVolume) -> None:
    """Write a transform that brings the moving volume to the fixed one, as ITK's map of fixed to moving points, LPS.

    The node's own parents are included. Linear, B-spline and displacement field transforms, alone or in a row, are
    written as they are; what ITK has no class for (inverses, thin plate splines) is sampled over the fixed volume.
    Errors: as `exportVolume`.
    """
    fromWorld = vtk.vtkGeneralTransform()
    transformNode.GetTransformFromWorld(fromWorld)
    copy = slicer.vtkMRMLTransformNode()
    linear = vtk.vtkTransform()
    if slicer.vtkMRMLTransformNode.IsGeneralTransformLinear(fromWorld, linear):
        copy.SetAndObserveTransformFromParent(linear)
    else:
        copy.SetAndObserveTransformFromParent(fromWorld)
        if not all(_isKnownToITK(part) for part in _parts(fromWorld)):
            copy = sampledOver(fixedVolume, copy)
    _write(slicer.vtkMRMLTransformStorageNode(), copy, path, transformNode.GetName())


def volumeToWorldMatrix(volumeNode) -> vtk.vtkMatrix4x4:
    """IJK to world RAS (mm) of a volume, its parent transforms included. Errors: InputError if axes are sheared."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    vtk.vtkMatrix4x4.Multiply4x4(_parentToWorld(volumeNode), matrix, matrix)
    _checkRightAngles(matrix, volumeNode)
    return matrix


def checkSegmentationInWorld(segmentationNode) -> None:
    """Raises InputError where label maps cannot follow the transforms over their segmentation."""
    segmentation = segmentationNode.GetSegmentation()
    parentToWorld = _parentToWorld(segmentationNode)
    if segmentationNode.GetParentTransformNode() is None or not _isBinaryLabelmap(segmentation):
        return
    for segmentID in segmentation.GetSegmentIDs():
        matrix = vtk.vtkMatrix4x4()
        segmentation.GetSegment(segmentID).GetRepresentation(_BINARY_LABELMAP).GetImageToWorldMatrix(matrix)
        vtk.vtkMatrix4x4.Multiply4x4(parentToWorld, matrix, matrix)
        _checkRightAngles(matrix, segmentationNode)


def _volumeInWorld(volumeNode):
    worldVolume = slicer.vtkMRMLScalarVolumeNode()
    worldVolume.SetName(volumeNode.GetName())
    worldVolume.SetIJKToRASMatrix(volumeToWorldMatrix(volumeNode))
    worldVolume.SetAndObserveImageData(volumeNode.GetImageData())
    return worldVolume


def _parentToWorld(node) -> vtk.vtkMatrix4x4:
    matrix = vtk.vtkMatrix4x4()
    parent = node.GetParentTransformNode()
    if parent is None:
        return matrix
    if not parent.IsTransformToWorldLinear():
        raise InputError(f"'{node.GetName()}' lies under a non-linear transform; {_remedy(node)}.")
    parent.GetMatrixTransformToWorld(matrix)
    return matrix


def _checkRightAngles(ijkToWorld: vtk.vtkMatrix4x4, node) -> None:
    axes = np.array([[ijkToWorld.GetElement(row, column) for column in range(3)] for row in range(3)])
    lengths = np.linalg.norm(axes, axis=0)
    if not np.all(np.isfinite(lengths)) or lengths.min() <= 0:
        raise InputError(f"'{node.GetName()}' has a voxel spacing of zero; correct it in the Volumes module.")
    directions = axes / lengths
    if np.abs(directions.T @ directions - np.eye(3)).max() <= SHEAR_TOLERANCE:
        return
    if node.GetParentTransformNode() is None:
        raise InputError(f"The axes of '{node.GetName()}' are not at right angles; resample it first.")
    raise InputError(f"'{node.GetName()}' lies under a transform that shears it; {_remedy(node)}.")


def _remedy(node) -> str:
    transformName = node.GetParentTransformNode().GetName()
    return (
        f"take it out of '{transformName}' and, if it is the moving one, choose '{transformName}' as the initial "
        "transform, or harden the transform first"
    )


def _keepSegments(segmentation, segmentIDs: list[str] | None) -> None:
    if segmentIDs is None:
        return
    known = segmentation.GetSegmentIDs()
    unknown = sorted(set(segmentIDs) - set(known))
    if unknown:
        raise InputError(f"The segmentation has no segment with the identifier '{unknown[0]}'; choose another.")
    for segmentID in known:
        if segmentID not in segmentIDs:
            segmentation.RemoveSegment(segmentID)


def _isBinaryLabelmap(segmentation) -> bool:
    return segmentation.GetSourceRepresentationName() == _BINARY_LABELMAP


def _makeBinaryLabelmap(segmentation, referenceVolume, name: str) -> None:
    if _isBinaryLabelmap(segmentation):
        return
    geometry = slicer.vtkSegmentationConverter.SerializeImageGeometry(
        volumeToWorldMatrix(referenceVolume), referenceVolume.GetImageData()
    )
    segmentation.SetConversionParameter(
        slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName(), geometry
    )
    if not segmentation.CreateRepresentation(_BINARY_LABELMAP):
        raise InputError(f"'{name}' could not be converted to label maps; create its binary labelmap representation.")
    segmentation.SetSourceRepresentationName(_BINARY_LABELMAP)


def _parts(transform) -> list:
    collection = vtk.vtkCollection()
    slicer.vtkMRMLTransformNode.FlattenGeneralTransform(collection, transform)
    parts = [collection.GetItemAsObject(i) for i in range(collection.GetNumberOfItems())]
    for part in parts:
        part.Update()  # refreshes the inverse flag
    return parts


def _isKnownToITK(part) -> bool:
    if part.IsA("vtkHomogeneousTransform"):
        return True
    if part.IsA("vtkOrientedGridTransform"):
        return not part.GetInverseFlag()
    # a B-spline with a bulk matrix is written in ITK 3's additive form, which ITK 5 does not read
    isBSpline = part.IsA("vtkOrientedBSplineTransform")
    return isBSpline and not part.GetInverseFlag() and part.GetBulkTransformMatrix() is None


def sampledOver(volumeNode, transformNode):
    """A transform node with the same transform as a displacement grid that covers the volume."""
    sampled = slicer.vtkMRMLTransformNode()
    logic = slicer.vtkSlicerTransformLogic()
    logic.SetMRMLScene(volumeNode.GetScene())
    logic.ConvertToGridTransform(transformNode, coarseGridOver(volumeNode), sampled)
    return sampled


def coarseGridOver(volumeNode):
    """A volume without voxels over the given one, at most as fine as SAMPLED_TRANSFORM_SPACING_MM."""
    matrix = volumeToWorldMatrix(volumeNode)
    dimensions = []
    for axis, size in enumerate(volumeNode.GetImageData().GetDimensions()):
        spacing = math.hypot(*(matrix.GetElement(row, axis) for row in range(3)))
        step = max(1.0, SAMPLED_TRANSFORM_SPACING_MM / spacing)
        dimensions.append(math.ceil((size - 1) / step) + 1)
        for row in range(3):
            matrix.SetElement(row, axis, matrix.GetElement(row, axis) * step)
    image = vtk.vtkImageData()
    image.SetDimensions(dimensions)
    grid = slicer.vtkMRMLScalarVolumeNode()
    grid.SetIJKToRASMatrix(matrix)
    grid.SetAndObserveImageData(image)
    return grid


# Import


def readTransform(path: Path):
    """A transform node (in no scene) whose from-parent transform is the file's map of fixed to moving points.

    Errors: RegistrationError, as of the two below, for a file that cannot be read.
    """
    transformNode = slicer.vtkMRMLTransformNode()
    _read(slicer.vtkMRMLTransformStorageNode(), transformNode, path)
    # Slicer reads a displacement field as cubic; the engine and SimpleITK interpolate it linearly
    for part in _parts(transformNode.GetTransformFromParent()):
        for grid in (part, part.GetInverse()):  # the one that depends on the other takes its mode from it
            if grid.IsA("vtkOrientedGridTransform"):
                grid.SetInterpolationModeToLinear()
    return transformNode


def readVolume(path: Path):
    """A scalar volume node (in no scene) with the file's voxels and geometry."""
    volumeNode = slicer.vtkMRMLScalarVolumeNode()
    _read(slicer.vtkMRMLVolumeArchetypeStorageNode(), volumeNode, path)
    return volumeNode


def readSegmentation(path: Path):
    """A segmentation node (in no scene) with the segments of a .seg.nrrd file, masks unchanged."""
    # the storage node makes display nodes, which need a scene: a passing one, so that ours stays as it is
    passing = slicer.vtkMRMLScene()
    holder = passing.AddNewNodeByClass("vtkMRMLSegmentationNode")
    _read(slicer.vtkMRMLSegmentationStorageNode(), holder, path)
    segmentationNode = slicer.vtkMRMLSegmentationNode()
    segmentationNode.SetAndObserveSegmentation(holder.GetSegmentation())
    return segmentationNode


def placeTransform(read, target, fixedVolume, movingVolume):
    """Put what `readTransform` gave into the scene, or into the target node. It maps world to world."""
    node = _inScene(read, target, fixedVolume, f"{movingVolume.GetName()} to {fixedVolume.GetName()} transform")
    if node is not read:
        node.SetAndObserveTransformFromParent(read.GetTransformFromParent())
    node.SetNodeReferenceID("spatialRegistrationFixed", fixedVolume.GetID())
    node.SetNodeReferenceID("spatialRegistrationMoving", movingVolume.GetID())
    return node


def placeVolume(read, target, fixedVolume, movingVolume):
    """Put what `readVolume` gave into the scene, or into the target node, with the moving volume's display and unit."""
    node = _inScene(read, target, fixedVolume, f"{movingVolume.GetName()} to {fixedVolume.GetName()}")
    if node is not read:
        matrix = vtk.vtkMatrix4x4()
        read.GetIJKToRASMatrix(matrix)
        node.SetIJKToRASMatrix(matrix)
        node.SetAndObserveImageData(read.GetImageData())
    node.SetVoxelValueQuantity(movingVolume.GetVoxelValueQuantity())
    node.SetVoxelValueUnits(movingVolume.GetVoxelValueUnits())
    node.CreateDefaultDisplayNodes()
    if movingVolume.GetDisplayNode() is not None:
        node.GetDisplayNode().Copy(movingVolume.GetDisplayNode())  # references, too: ViewMemory's
    return node


def placeSegmentation(read, target, fixedVolume, movingSegmentation):
    """Put what `readSegmentation` gave into the scene, or into the target node, on the fixed volume's grid."""
    node = _inScene(read, target, fixedVolume, f"{movingSegmentation.GetName()} to {fixedVolume.GetName()}")
    if node is not read:
        node.SetAndObserveSegmentation(read.GetSegmentation())
    node.SetReferenceImageGeometryParameterFromVolumeNode(fixedVolume)
    node.CreateDefaultDisplayNodes()
    _copySegmentVisibility(movingSegmentation, node)
    return node


def _copySegmentVisibility(source, target) -> None:
    display = source.GetDisplayNode()
    known = source.GetSegmentation().GetSegmentIDs()
    for segmentID in target.GetSegmentation().GetSegmentIDs():
        if display is not None and segmentID in known:
            target.GetDisplayNode().SetSegmentVisibility(segmentID, display.GetSegmentVisibility(segmentID))


def _inScene(read, target, fixedVolume, name: str):
    """The target, or else the read node added to the scene; no parent transform; beside the fixed volume."""
    scene = fixedVolume.GetScene()
    if target is None:
        read.SetName(scene.GenerateUniqueName(name))
        target = scene.AddNode(read)
    target.SetAndObserveTransformNodeID(None)
    placeBeside(target, fixedVolume)
    return target


# Subject hierarchy


def placeBeside(node, volumeNode) -> None:
    """Put the node's item where the volume's is; both are in one scene."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    item = hierarchy.GetItemByDataNode(volumeNode)
    placeUnder(node, hierarchy.GetItemParent(item) if item else hierarchy.GetSceneItemID())


def placeUnder(node, parent: int) -> int:
    """Put the node's item under the parent; the application has made one already, a scene alone has not."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(parent, node)
    hierarchy.SetItemParent(item, parent)
    return item


# Files


def _read(storageNode, node, path: Path) -> None:
    storageNode.SetFileName(str(path))
    if not Path(path).is_file() or not storageNode.ReadData(node):
        raise RegistrationError(f"The result file '{Path(path).name}' could not be read.")


def _write(storageNode, node, path: Path, name: str) -> None:
    storageNode.SetFileName(str(path))
    storageNode.SetUseCompression(0)  # the file is read once and removed
    if not storageNode.WriteData(node) or not Path(path).is_file():
        raise RegistrationError(f"'{name}' could not be written to {path}; is the disk full?")
