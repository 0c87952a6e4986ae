"""slicer.app.coreIOManager(): the files of volumes, segmentations and transforms, through the real storage nodes."""

from __future__ import annotations

import os

import slicer
from PySide6 import QtCore

from .pythonqt import offered

_KINDS = {
    "VolumeFile": ("vtkMRMLScalarVolumeNode", "vtkMRMLVolumeArchetypeStorageNode"),
    "SegmentationFile": ("vtkMRMLSegmentationNode", "vtkMRMLSegmentationStorageNode"),
    "TransformFile": ("vtkMRMLTransformNode", "vtkMRMLTransformStorageNode"),
}
_SUFFIXES = {".seg.nrrd": "SegmentationFile", ".h5": "TransformFile", ".tfm": "TransformFile"}


class NodeFiles(QtCore.QObject):
    slicerName = "qSlicerIOManager"

    def __init__(self, scene) -> None:
        super().__init__()
        self._scene = scene

    @offered
    def fileType(self, fileName: str) -> str:
        kinds = (kind for suffix, kind in _SUFFIXES.items() if str(fileName).endswith(suffix))
        return next(kinds, "VolumeFile")

    @offered
    def loadNodes(self, fileType: str, parameters: dict, loadedNodes=None, userMessages=None) -> bool:
        if fileType not in _KINDS:
            return False
        nodeClass, storageClass = _KINDS[fileType]
        if fileType == "VolumeFile" and parameters.get("labelmap"):
            nodeClass = "vtkMRMLLabelMapVolumeNode"
        path = str(parameters["fileName"])
        name = parameters.get("name") or os.path.basename(path).split(".")[0]
        node = self._scene.AddNewNodeByClass(nodeClass, self._scene.GetUniqueNameByString(name))
        storageNode = self._scene.AddNewNodeByClass(storageClass)
        storageNode.SetFileName(path)
        if not os.path.isfile(path) or not storageNode.ReadData(node):
            self._scene.RemoveNode(storageNode)
            self._scene.RemoveNode(node)
            return False
        node.SetAndObserveStorageNodeID(storageNode.GetID())
        node.CreateDefaultDisplayNodes()
        if parameters.get("show", True) and fileType == "VolumeFile":
            slicer.util.setSliceViewerLayers(background=node, fit=True)
        if loadedNodes is not None:
            loadedNodes.AddItem(node)
        return True

    @offered
    def fileWriterFileType(self, node, format: str = "") -> str:
        kinds = (kind for kind, (nodeClass, _) in _KINDS.items() if node.IsA(nodeClass))
        return next(kinds, "NoFile")

    @offered
    def saveNodes(self, fileType: str, parameters: dict, userMessages=None) -> bool:
        node = self._scene.GetNodeByID(parameters["nodeID"])
        node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(str(parameters["fileName"]))
        return bool(node.GetStorageNode().WriteData(node))
