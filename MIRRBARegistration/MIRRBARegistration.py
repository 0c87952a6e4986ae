"""The scripted module "MIRRBA Registration": what Slicer loads. What it does is in MIRRBARegistrationLib."""

import sys
import unittest

import slicer
from MIRRBARegistrationLib.layout import registerLayouts
from MIRRBARegistrationLib.logic import MIRRBARegistrationLogic as RegistrationLogic
from MIRRBARegistrationLib.panel import Panel
from MIRRBARegistrationLib.parameters import MIRRBARegistrationParameterNode
from MIRRBARegistrationLib.sampleData import registerSampleData
from MIRRBARegistrationLib.selfTest import RegistrationSelfTest
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

HOMEPAGE = "https://github.com/mirrba/SlicerMIRRBA"


class MIRRBARegistration(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("MIRRBA Registration")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Registration")]
        parent.dependencies = []
        parent.contributors = ["The MIRRBA developers"]
        parent.helpText = _(
            "Brings a baseline whole-body PET and its lesions onto a follow-up PET, so that you see what the treatment "
            "did to every lesion. Needs no training data. "
            'See the <a href="{url}">tutorial and documentation</a>. For research; not a medical device.'
        ).format(url=f"{HOMEPAGE}/blob/main/docs/tutorial.md")
        parent.acknowledgementText = _(
            "The method is that of Fourcade et al., Phys. Med. Biol. 2022, "
            '<a href="https://doi.org/10.1088/1361-6560/ac7e17">doi:10.1088/1361-6560/ac7e17</a>.'
        )
        slicer.app.connect("startupCompleted()", registerSampleData)
        slicer.app.connect("startupCompleted()", registerLayouts)


class MIRRBARegistrationWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Holds the panels together: each is a class of its own in MIRRBARegistrationLib."""

    def __init__(self, parent=None) -> None:
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.panel = None
        ScriptedLoadableModuleWidget.__init__(self, parent)  # last: without a parent, it sets the widget up

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/MIRRBARegistration.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = MIRRBARegistrationLogic()
        self.panel = Panel(self.ui, self.logic, self.resourcePath("requirements.txt"))
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.initializeParameterNode()
        if self._isEntered():  # set up while it is shown: the module was reloaded, or it is by itself
            self.panel.enter()

    def cleanup(self) -> None:
        """The application ends, or the module is reloaded: what runs is stopped."""
        self.removeObservers()
        if self.panel is not None:
            self.panel.close()

    def enter(self) -> None:
        self.initializeParameterNode()
        self.panel.enter()

    def exit(self) -> None:
        self.panel.exit()

    def onReload(self) -> None:
        for name in [name for name in sys.modules if name.split(".")[0] in ("MIRRBARegistrationLib", "mirrba")]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def onSceneStartClose(self, caller, event) -> None:
        self.panel.setParameters(None)

    def onSceneEndClose(self, caller, event) -> None:
        if self._isEntered():
            self.initializeParameterNode()

    def _isEntered(self) -> bool:
        """A widget that is shown by itself, not as a module's, always is."""
        return getattr(self.parent, "isEntered", True)

    def initializeParameterNode(self) -> None:
        self.panel.setParameters(self.logic.getParameterNode())


class MIRRBARegistrationLogic(ScriptedLoadableModuleLogic, RegistrationLogic):
    """For scripts: register, startRegistration, propagateSegmentation, showOverlay."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)

    def getParameterNode(self) -> MIRRBARegistrationParameterNode:
        return MIRRBARegistrationParameterNode(ScriptedLoadableModuleLogic.getParameterNode(self))


class MIRRBARegistrationTest(RegistrationSelfTest, ScriptedLoadableModuleTest):
    """The self test: a tiny phantom, registered through the logic."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        try:
            ScriptedLoadableModuleTest.runTest(self)
        except unittest.SkipTest as reason:  # Slicer would show it as an error
            self.delayDisplay(str(reason))
