"""The parts of 3D Slicer that need neither Qt nor OpenGL, from the PyPI package slicer-core: a real MRML scene, the
application logic and module logics, and the slice logics that draw a slice view into an image.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

_MODULE_LOGICS = {
    "Volumes": "vtkSlicerVolumesLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Units": "vtkSlicerUnitsLogic",
}
_SLICE_VIEWS = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}


class HeadlessSlicer:
    """A scene with the logics around it. Keep a reference to it: the application logic holds its modules weakly."""

    def __init__(self) -> None:
        self.scene = slicer.vtkMRMLScene()
        self.applicationLogic = slicer.vtkSlicerApplicationLogic()
        self.applicationLogic.SetMRMLScene(self.scene)
        colorLogic = self.applicationLogic.GetColorLogic()
        colorLogic.SetMRMLScene(self.scene)
        colorLogic.AddDefaultColorNodes()
        self.logics = {"Colors": colorLogic}
        self.applicationLogic.SetModuleLogic("Colors", colorLogic)
        for moduleName, className in _MODULE_LOGICS.items():
            logic = getattr(slicer, className)()
            logic.SetMRMLApplicationLogic(self.applicationLogic)
            logic.SetMRMLScene(self.scene)
            self.applicationLogic.SetModuleLogic(moduleName, logic)
            self.logics[moduleName] = logic
        self.subjectHierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)
        self._addSliceViews()
        slicer.mrmlScene = self.scene

    def close(self) -> None:
        """Forget the scene, as when the application ends."""
        self.scene.Clear(True)
        slicer.mrmlScene = None

    def loadVolume(self, path: Path, name: str):
        """A scalar volume node from a file, with the default display and an item in the subject hierarchy."""
        return self._load("vtkMRMLScalarVolumeNode", "vtkMRMLVolumeArchetypeStorageNode", path, name)

    def loadSegmentation(self, path: Path, name: str):
        """A segmentation node from a .seg.nrrd file."""
        return self._load("vtkMRMLSegmentationNode", "vtkMRMLSegmentationStorageNode", path, name)

    def loadTransform(self, path: Path, name: str):
        """A transform node from a file, as Slicer's own reader makes it."""
        return self._load("vtkMRMLTransformNode", "vtkMRMLTransformStorageNode", path, name)

    def _load(self, nodeClass: str, storageClass: str, path: Path, name: str):
        node = self.scene.AddNewNodeByClass(nodeClass, name)
        storageNode = self.scene.AddNewNodeByClass(storageClass)
        storageNode.SetFileName(str(path))
        if not storageNode.ReadData(node):
            raise OSError(f"{path} could not be read")
        node.CreateDefaultDisplayNodes()
        self.subjectHierarchy.CreateItem(self.subjectHierarchy.GetSceneItemID(), node)
        return node

    def writeBundle(self, path: Path) -> None:
        """Save the scene with all its data as .mrb, which 3D Slicer opens."""
        # a relative path makes it fail after it has written everything
        if not self.scene.WriteToMRB(str(path.resolve())):
            raise OSError(f"{path} could not be written")

    def readBundle(self, path: Path) -> None:
        """Load a .mrb into the scene, with all its data."""
        with tempfile.TemporaryDirectory() as folder:
            shutil.unpack_archive(path, folder, format="zip")
            (sceneFile,) = Path(folder).glob("*/*.mrml")
            self.scene.SetURL(str(sceneFile))
            self.scene.SetRootDirectory(str(sceneFile.parent))
            if not self.scene.Import():
                raise OSError(f"{path} could not be read")

    def sliceImage(self, viewName: str, width: int, height: int) -> np.ndarray:
        """What the slice view shows, as an RGB array [row, column, 3] from the top, fitted to the background volume.

        Layers only, without annotations: drawn by Slicer's slice logic on the CPU.
        """
        sliceLogic = slicer.vtkMRMLSliceLogic()
        sliceLogic.SetMRMLApplicationLogic(self.applicationLogic)
        sliceLogic.SetMRMLScene(self.scene)
        sliceLogic.SetSliceNode(self.scene.GetSingletonNode(viewName, "vtkMRMLSliceNode"))
        sliceLogic.ResizeSliceNode(width, height)
        sliceLogic.FitSliceToBackground(width, height)
        sliceLogic.UpdatePipeline()
        producer = sliceLogic.GetImageDataConnection().GetProducer()
        producer.Update()
        image = producer.GetOutputDataObject(0)
        columns, rows, _ = image.GetDimensions()
        pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, -1)
        return pixels[::-1, :, :3].copy()

    def _addSliceViews(self) -> None:
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene)
        for viewName, orientation in _SLICE_VIEWS.items():
            for className in ("vtkMRMLSliceNode", "vtkMRMLSliceCompositeNode"):
                node = self.scene.CreateNodeByClass(className)
                node.UnRegister(None)
                node.SetName(viewName)
                node.SetLayoutName(viewName)
                node.SetSingletonTag(viewName)
                self.scene.AddNode(node)
            self.scene.GetSingletonNode(viewName, "vtkMRMLSliceNode").SetOrientation(orientation)


def writePng(pixels: np.ndarray, path: Path) -> None:
    """Write an RGB array [row, column, 3] as PNG."""
    image = vtk.vtkImageData()
    image.SetDimensions(pixels.shape[1], pixels.shape[0], 1)
    flat = np.ascontiguousarray(pixels[::-1]).reshape(-1, 3)
    image.GetPointData().SetScalars(vtk.util.numpy_support.numpy_to_vtk(flat, deep=True))
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(image)
    writer.Write()
