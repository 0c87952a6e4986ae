"""Somebody in front of the module's panel, on the stand-in for the application: what the tests of the panel share."""

import os
import types
from pathlib import Path

import slicer
import vtk

MODULE_FILE = Path(__file__).parents[1] / "MIRRBARegistration" / "MIRRBARegistration.py"
LONG = "100000"
"""Iterations that outlast any test."""


class User:
    """Somebody in front of the panel."""

    def __init__(self, application, pairFolder: Path) -> None:
        self.application = application
        self._pairFolder = pairFolder
        self.widget = application.loadModule(MODULE_FILE)
        application.mainWindow.show()
        self.ui = self.widget.ui

    @property
    def panel(self):
        return self.widget.panel

    @property
    def parameters(self):
        return self.panel.parameters

    def loadsAPair(self):
        from MIRRBARegistrationLib.sampleData import loadPair

        pair = loadPair(self._pairFolder)
        self.application.processEvents(50)
        return pair

    @property
    def reads(self) -> str:
        """On the button, and below it."""
        return f"{self.ui.applyButton.text} {self.ui.statusLabel.text}"

    def choosesFast(self, iterations="10") -> None:
        """The quickest that is a registration: on the processor, a few iterations."""
        self.ui.presetComboBox.setCurrentIndex(self.ui.presetComboBox.findText("mirrba-level-1"))
        self.ui.iterationsLineEdit.text = f"{iterations},1,1"
        self.ui.spacingLineEdit.text = "16"

    def clicks(self, button) -> None:
        assert button.enabled, button.text
        assert button.visible, button.text
        button.click()

    def waitsForTheEnd(self, seconds=120) -> None:
        self.application.waitUntil(lambda: self.panel.run.queue is None, seconds)
        self.application.processEvents(50)

    def waitsForIterations(self) -> None:
        self.application.waitUntil(lambda: "iteration" in self.ui.statusLabel.text, 60)

    def startsALongRun(self) -> int:
        """The process that registers, once it iterates; it does not end by itself."""
        self.choosesFast(LONG)
        self.clicks(self.ui.applyButton)
        self.waitsForIterations()
        return childOf(self)

    def getsAResult(self, pair, volume=True, segmentation=True, fixedVolume=None, segments=()):
        """What a run leaves behind, without the run: copies in the place of what it would have warped."""
        from MIRRBARegistrationLib.guess import OUTPUT_ATTRIBUTE
        from MIRRBARegistrationLib.registrationJob import Inputs, Outputs
        from MIRRBARegistrationLib.results import addResult

        moving, segmentationNode = pair.baselineVolume, pair.baselineSegmentation
        fixed = fixedVolume or pair.followUpVolume
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "Warp")
        transform.SetMatrixTransformToParent(_shift(30))
        outputs = Outputs(transform, None, None)
        if volume:
            outputs.volume = slicer.modules.volumes.logic().CloneVolume(slicer.mrmlScene, moving, "Warped PET")
        elif moving.GetParentTransformNode() is None:
            moving.SetAndObserveTransformNodeID(transform.GetID())
        if segmentation:
            outputs.segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Warped segments")
            outputs.segmentation.GetSegmentation().DeepCopy(segmentationNode.GetSegmentation())
            outputs.segmentation.CreateDefaultDisplayNodes()
        inputs = Inputs(fixed, moving, segmentationNode, pair.followUpSegmentation)
        metrics = {"segments": list(segments)}
        job = types.SimpleNamespace(inputs=inputs, outputs=outputs, metrics=metrics, isStoppedEarly=False)
        for node in outputs.nodes():
            node.SetAttribute(OUTPUT_ATTRIBUTE, "1")
        self.parameters.result = addResult(job)
        self.panel.review.open()
        self.application.processEvents(50)
        return self.panel.review._result

    def registers(self, iterations="10") -> None:
        self.choosesFast(iterations)
        self.clicks(self.ui.applyButton)
        self.waitsForTheEnd()


def _shift(mm: float) -> vtk.vtkMatrix4x4:
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(2, 3, mm)
    return matrix


class AnsweredQuery:
    """The devices at once: asking for them loads torch in another process, which takes seconds."""

    isOver = True

    def __init__(self) -> None:
        from MIRRBARegistrationLib.deviceQuery import Device

        self.devices = [Device("cpu", "CPU, 2 threads", 4096)]

    def poll(self) -> bool:
        return True

    def close(self) -> None:
        pass


def a_segment(name, centre=None, **scores) -> dict:
    """A row as the engine writes it."""
    return {"name": name, "fate": "persisting", "role": "lesion", "centre_fixed_lps": centre, **scores}


def childOf(user) -> int:
    return user.panel.run.queue.current.job._job._process.pid


def isAlive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def nodeNames(*classNames) -> set[str]:
    """Of the nodes that a user sees."""
    nodes = [node for name in classNames for node in slicer.util.getNodesByClass(name)]
    return {node.GetName() for node in nodes if not node.GetHideFromEditors()}


VISIBLE = ("vtkMRMLScalarVolumeNode", "vtkMRMLSegmentationNode", "vtkMRMLTransformNode", "vtkMRMLTableNode")


def overlayLayers():
    from MIRRBARegistrationLib import layout

    composite = layout.compositeNode(layout.OVERLAY)
    return [
        node.GetName() if node is not None else None
        for node in (
            slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or ""),
            slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID() or ""),
        )
    ]


def shownVolumes():
    """Background and foreground of the three views, by name."""
    from MIRRBARegistrationLib import layout

    composites = [layout.compositeNode(tag) for tag in (layout.FIXED, layout.MOVING, layout.OVERLAY)]
    layers = [(composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()) for composite in composites]
    return [tuple(nodeID and slicer.mrmlScene.GetNodeByID(nodeID).GetName() for nodeID in pair) for pair in layers]
