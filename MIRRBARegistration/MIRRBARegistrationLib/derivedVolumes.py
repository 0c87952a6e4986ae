"""Volumes that exist only to be looked at: hidden from the node lists, not saved with the scene."""

from __future__ import annotations

import numpy as np
import slicer
import vtk

from .nodes import sampledOver, volumeToWorldMatrix
from .overlay import petWindow

TILE_MM = 60.0
"""Side of a checkerboard's tile."""
_DIVERGING = "vtkMRMLColorTableNodeFileDivergingBlueRed.txt"
_RAINBOW = "vtkMRMLColorTableNodeRainbow"
_JACOBIAN_WINDOW = (0.5, 1.5)


def checkerboard(fixedVolume, otherVolume):
    """Tiles of the fixed and of the other volume in turn, on the fixed grid, each scaled to its own tissue."""
    resampled = _onGridOf(fixedVolume, otherVolume)
    tiles = _tiles(fixedVolume)
    voxels = np.where(tiles, _scaled(fixedVolume), _scaled(resampled)).astype(np.float32)
    node = _hiddenVolume("MIRRBA checkerboard", voxels, volumeToWorldMatrix(fixedVolume))
    node.GetDisplayNode().SetWindowLevelMinMax(0.0, 1.0)
    return node


def jacobianMap(transformNode, fixedVolume):
    """Local change of volume from the fixed image to the moving one: det J of the transform, over the fixed volume.

    On a grid of nodes.SAMPLED_TRANSFORM_SPACING_MM or coarser; central differences.
    """
    fromWorld = vtk.vtkGeneralTransform()
    transformNode.GetTransformFromWorld(fromWorld)
    copy = slicer.vtkMRMLTransformNode()
    copy.SetAndObserveTransformFromParent(fromWorld)
    sampled = sampledOver(fixedVolume, copy)
    grid = sampled.GetTransformFromParent()
    image = grid.GetDisplacementGrid()
    displacement = slicer.util.arrayFromGridTransform(sampled)
    axes = np.array(
        [[grid.GetGridDirectionMatrix().GetElement(row, column) for column in range(3)] for row in range(3)]
    ) * np.array(image.GetSpacing())
    node = _hiddenVolume("MIRRBA Jacobian", jacobianDeterminant(displacement, axes), _gridToWorld(image, axes))
    display = node.GetDisplayNode()
    colors = slicer.mrmlScene.GetNodeByID(_DIVERGING)  # comes with Slicer as a file, which slicer-core lacks
    display.SetAndObserveColorNodeID(_DIVERGING if colors is not None else _RAINBOW)
    display.SetWindowLevelMinMax(*_JACOBIAN_WINDOW)
    return node


def jacobianDeterminant(displacement: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """det(I + du/dx), `[k, j, i]`, of displacement `[k, j, i, 3]`; `axes` are a voxel's edges as columns. In mm."""
    gradient = np.stack([np.gradient(displacement, axis=axis) for axis in (2, 1, 0)], axis=-1)
    return np.linalg.det(np.eye(3) + gradient @ np.linalg.inv(axes)).astype(np.float32)


def addHidden(node):
    """Put a helper node into the scene that is in no node list, nor in a saved scene."""
    node.SetHideFromEditors(True)  # before: Slicer asks when a node comes
    node.SetSaveWithScene(False)
    return slicer.mrmlScene.AddNode(node)


def remove(volumeNode) -> None:
    """Take one of these out of its scene, if it is in one; the scene would keep its display node."""
    scene = volumeNode.GetScene()
    if scene is not None:
        display = volumeNode.GetDisplayNode()
        scene.RemoveNode(volumeNode)
        if display is not None:
            scene.RemoveNode(display)


def _hiddenVolume(name: str, voxels: np.ndarray, ijkToRAS: vtk.vtkMatrix4x4):
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetName(name)
    node = addHidden(node)
    node.SetIJKToRASMatrix(ijkToRAS)
    slicer.util.updateVolumeFromArray(node, voxels)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().AutoWindowLevelOff()
    node.GetDisplayNode().SetSaveWithScene(False)
    return node


def _onGridOf(fixedVolume, otherVolume):
    """The other volume's voxels, linear, on the fixed grid, as a node in no scene."""
    reslice = vtk.vtkImageReslice()
    reslice.SetInputData(otherVolume.GetImageData())
    reslice.SetOutputExtent(fixedVolume.GetImageData().GetExtent())
    reslice.SetOutputOrigin(0, 0, 0)
    reslice.SetOutputSpacing(1, 1, 1)
    reslice.SetInterpolationModeToLinear()
    reslice.SetResliceTransform(_ijkToIjk(fixedVolume, otherVolume))
    reslice.Update()
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetAndObserveImageData(reslice.GetOutput())
    return node


def _ijkToIjk(fixedVolume, otherVolume) -> vtk.vtkGeneralTransform:
    """From voxels of the fixed volume to voxels of the other, its parent transforms included."""
    rasToIjk = vtk.vtkMatrix4x4()
    otherVolume.GetRASToIJKMatrix(rasToIjk)
    chain = vtk.vtkGeneralTransform()
    chain.PostMultiply()
    chain.Concatenate(volumeToWorldMatrix(fixedVolume))
    parent = otherVolume.GetParentTransformNode()
    if parent is not None:
        fromWorld = vtk.vtkGeneralTransform()
        parent.GetTransformFromWorld(fromWorld)
        chain.Concatenate(fromWorld)
    chain.Concatenate(rasToIjk)
    return chain


def _scaled(volumeNode) -> np.ndarray:
    lower, upper = petWindow(volumeNode)
    return (slicer.util.arrayFromVolume(volumeNode) - lower) / (upper - lower)


def _tiles(volumeNode) -> np.ndarray:
    """True and false in turn, `[k, j, i]`, in cubes of TILE_MM."""
    matrix = volumeToWorldMatrix(volumeNode)
    dimensions = volumeNode.GetImageData().GetDimensions()
    parity = np.zeros(dimensions[::-1], bool)
    for axis, size in enumerate(dimensions):
        spacing = np.linalg.norm([matrix.GetElement(row, axis) for row in range(3)])
        odd = (np.arange(size) * spacing // TILE_MM).astype(int) % 2 == 1
        shape = [1, 1, 1]
        shape[2 - axis] = size
        parity ^= odd.reshape(shape)
    return parity


def _gridToWorld(image, axes: np.ndarray) -> vtk.vtkMatrix4x4:
    matrix = vtk.vtkMatrix4x4()
    for row in range(3):
        for column in range(3):
            matrix.SetElement(row, column, axes[row, column])
        matrix.SetElement(row, 3, image.GetOrigin()[row])
    return matrix
