"""Which volumes and segments are registered."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from . import guess


class InputPanel:
    def __init__(self, ui, onSampleData: Callable[[], None]) -> None:
        # one for each kind: the mixin lets go of a node only with all that it observes
        self._segmentObserver, self._transformObserver = VTKObservationMixin(), VTKObservationMixin()
        self._ui = ui
        self._parameters = None
        self._listed = None
        self._isFilling = False
        ui.swapButton.connect("clicked()", self.swap)
        self._makeSamplePair = onSampleData
        ui.sampleDataButton.connect("clicked()", self._onSampleData)
        ui.segmentsList.connect("itemChanged(QListWidgetItem*)", self._onItemChanged)
        ui.segmentsList.contextMenuPolicy = qt.Qt.ActionsContextMenu
        self._addAction(_("Check all"), qt.Qt.Checked)
        self._addAction(_("Uncheck all"), qt.Qt.Unchecked)

    def setParameters(self, parameters) -> None:
        self._parameters = parameters
        self._listed = None
        if parameters is None:
            self._segmentObserver.removeObservers()
            self._transformObserver.removeObservers()
            self._fill([])

    def update(self) -> None:
        parameters = self._parameters
        hasVolume = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode") is not None
        self._ui.sampleDataButton.visible = not hasVolume
        self._ui.swapButton.enabled = parameters.fixedVolume is not None or parameters.movingVolume is not None
        self._listSegments(parameters.movingSegmentation)
        self._watchTransforms()

    def _onSampleData(self) -> None:
        """It takes some seconds; the application stays alive meanwhile."""
        button = self._ui.sampleDataButton
        text = button.text
        button.enabled, button.text = False, _("Making the pair…")
        try:
            self._makeSamplePair()
        finally:
            button.enabled, button.text = True, text

    def forget(self) -> None:
        """A scene was loaded: what is listed now is not the user's change."""
        self._listed = None

    def guess(self) -> None:
        """Choose baseline and follow-up, where nothing is chosen yet and the scene leaves no doubt."""
        parameters = self._parameters
        if parameters is None or parameters.fixedVolume is not None or parameters.movingVolume is not None:
            return
        pair = guess.guessPair(slicer.mrmlScene)
        if pair is None:
            return
        segmentations = list(slicer.util.getNodesByClass("vtkMRMLSegmentationNode"))
        with slicer.util.NodeModify(parameters.parameterNode):
            parameters.fixedVolume, parameters.movingVolume = pair
            parameters.fixedSegmentation = guess.segmentationOf(pair[0], segmentations)
            parameters.movingSegmentation = guess.segmentationOf(pair[1], segmentations)

    def swap(self) -> None:
        """Fixed becomes moving and the reverse, with their segmentations."""
        parameters = self._parameters
        with slicer.util.NodeModify(parameters.parameterNode):
            parameters.fixedVolume, parameters.movingVolume = parameters.movingVolume, parameters.fixedVolume
            segmentations = parameters.movingSegmentation, parameters.fixedSegmentation
            parameters.fixedSegmentation, parameters.movingSegmentation = segmentations
            parameters.leftOutSegments = []

    def _listSegments(self, segmentationNode) -> None:
        """Fill the list again if the segmentation or its segments have changed."""
        segmentation = segmentationNode.GetSegmentation() if segmentationNode is not None else None
        segmentIDs = list(segmentation.GetSegmentIDs()) if segmentation is not None else []
        segments = [(segmentID, segmentation.GetSegment(segmentID).GetName()) for segmentID in segmentIDs]
        listed = (segmentationNode.GetID() if segmentationNode is not None else None, segments)
        if listed == self._listed:
            return
        if self._listed is not None and self._listed[0] not in (None, listed[0]):
            self._parameters.leftOutSegments = []  # identifiers of another segmentation mean nothing here
        self._listed = listed
        self._fill(segments)
        self._segmentObserver.removeObservers()
        if segmentation is not None:
            for event in (
                slicer.vtkSegmentation.SegmentAdded,
                slicer.vtkSegmentation.SegmentRemoved,
                slicer.vtkSegmentation.SegmentModified,
            ):
                self._segmentObserver.addObserver(segmentation, event, self._onSegmentsChanged)

    def _watchTransforms(self) -> None:
        """What is chosen may be put under a transform, or taken out of one, in any module."""
        chosen = (
            self._parameters.fixedVolume,
            self._parameters.movingVolume,
            self._parameters.movingSegmentation,
            self._parameters.fixedSegmentation,
            *self._parameters.followUps,
        )
        self._transformObserver.removeObservers()
        event = slicer.vtkMRMLTransformableNode.TransformModifiedEvent
        for node in {node for node in chosen if node is not None}:
            self._transformObserver.addObserver(node, event, self._onTransformChanged)

    def _fill(self, segments: list[tuple[str, str]]) -> None:
        self._isFilling = True
        self._ui.segmentsList.clear()
        for segmentID, name in segments:
            item = qt.QListWidgetItem(name)
            item.setData(qt.Qt.UserRole, segmentID)
            isLeftOut = segmentID in self._parameters.leftOutSegments
            item.setCheckState(qt.Qt.Unchecked if isLeftOut else qt.Qt.Checked)
            self._ui.segmentsList.addItem(item)
        self._ui.segmentsList.visible = bool(segments)
        self._ui.segmentsLabel.visible = bool(segments)
        self._isFilling = False

    def _addAction(self, text: str, state) -> None:
        action = qt.QAction(text, self._ui.segmentsList)
        action.connect("triggered()", lambda: self._checkAll(state))
        self._ui.segmentsList.addAction(action)

    def _checkAll(self, state) -> None:
        self._isFilling = True
        for item in self._items():
            item.setCheckState(state)
        self._isFilling = False
        self._rememberLeftOut()

    def _onItemChanged(self, item) -> None:
        if not self._isFilling:
            self._rememberLeftOut()

    def _rememberLeftOut(self) -> None:
        if self._parameters is not None:
            self._parameters.leftOutSegments = [
                item.data(qt.Qt.UserRole) for item in self._items() if item.checkState() == qt.Qt.Unchecked
            ]

    def _items(self) -> list:
        return [self._ui.segmentsList.item(row) for row in range(self._ui.segmentsList.count)]

    def _onTransformChanged(self, caller, event) -> None:
        if self._parameters is not None:
            # through the parameter node: everybody who shows what can be done now is updated
            self._parameters.Modified()

    def _onSegmentsChanged(self, caller, event) -> None:
        if self._parameters is not None:
            self.update()
