"""The stand-in for the Slicer application keeps PythonQt's and Slicer's habits."""

import enum
import sys
from pathlib import Path
from typing import Annotated

import pytest
from conftest import qtStarts

MODULE_FILE = Path(__file__).parents[1] / "MIRRBARegistration" / "MIRRBARegistration.py"

UI = """<ui version="4.0"><class>Sample</class><widget class="qMRMLWidget" name="Sample">
<layout class="QVBoxLayout" name="top"><item><widget class="ctkCollapsibleButton" name="section">
<property name="text"><string>Section</string></property><property name="collapsed"><bool>true</bool></property>
<layout class="QFormLayout" name="form">
<item row="0" column="1"><widget class="qMRMLNodeComboBox" name="volume">
<property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
<property name="noneEnabled"><bool>true</bool></property>
<property name="SlicerParameterName" stdset="0"><string>volume</string></property></widget></item>
<item row="1" column="1"><widget class="QCheckBox" name="flag">
<property name="SlicerParameterName" stdset="0"><string>flag</string></property></widget></item>
<item row="2" column="1"><widget class="QComboBox" name="mode">
<property name="SlicerParameterName" stdset="0"><string>mode</string></property></widget></item>
<item row="3" column="1"><widget class="ctkSliderWidget" name="weight">
<property name="SlicerParameterName" stdset="0"><string>weight</string></property></widget></item>
<item row="4" column="1"><widget class="QPushButton" name="apply"/></item>
</layout></widget></item></layout></widget>
<customwidgets/><connections><connection><sender>Sample</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
<receiver>volume</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>"""


@pytest.fixture
def ui(slicerApplication, tmp_path):
    """The widgets of a small .ui, and the widget around them as `Sample`, which has the scene."""
    import slicer

    path = tmp_path / "sample.ui"
    path.write_text(UI)
    widget = slicer.util.loadUI(str(path))
    widgets = slicer.util.childWidgetVariables(widget)
    widget.setMRMLScene(slicer.mrmlScene)
    widgets.Sample = widget
    return widgets


class TestPythonQt:
    def test_a_property_is_an_attribute_and_not_callable(self, slicerApplication):
        import qt

        label = qt.QLabel("a")
        assert label.text == "a"
        label.text = "b"
        assert label.text == "b"
        with pytest.raises(TypeError):
            label.text()

    def test_a_property_takes_what_python_can_make_of_the_value(self, slicerApplication):
        import qt

        label, button, box = qt.QLabel(), qt.QPushButton(), qt.QSpinBox()
        label.text = None
        button.enabled = []
        box.value = 2.7
        assert (label.text, button.enabled, box.value) == ("None", False, 2)
        with pytest.raises(AttributeError):
            box.value = "2"

    def test_an_unknown_attribute_cannot_be_read_or_set(self, slicerApplication):
        import qt

        button = qt.QPushButton()
        with pytest.raises(AttributeError):
            button.set_text("a")
        with pytest.raises(AttributeError):
            button.note = 1
        with pytest.raises(AttributeError):
            button.setText = print
        with pytest.raises(AttributeError):
            qt.QNothing  # noqa: B018

    def test_a_dynamic_property_is_an_attribute(self, slicerApplication):
        import qt

        button = qt.QPushButton()
        button.setProperty("note", 1)
        assert button.note == 1
        button.note = 2
        assert button.property("note") == 2

    def test_a_child_is_an_attribute_by_its_name(self, ui):
        assert ui.section.flag is ui.flag
        assert ui.flag.name == ui.flag.objectName == "flag"

    def test_an_object_has_one_wrapper_of_its_own_class(self, ui):
        import ctk
        import qt

        assert ui.Sample.findChild(qt.QCheckBox, "flag") is ui.flag
        assert ui.flag.parent() is ui.section
        assert type(ui.flag) == qt.QCheckBox  # noqa: E721
        assert type(ui.section) == ctk.ctkCollapsibleButton  # noqa: E721
        assert not isinstance(ui.flag, qt.QWidget)
        assert ui.flag.inherits("QAbstractButton")

    def test_signals_by_signature_and_by_name(self, slicerApplication):
        import qt

        button, calls = qt.QPushButton(), []

        def received(checked):
            calls.append(checked)

        assert button.connect("clicked(bool)", received)
        button.click()
        assert button.disconnect("clicked(bool)", received)
        button.click()
        button.clicked.connect(received)
        button.click()
        button.clicked.disconnect(received)
        button.click()
        assert calls == [False, False]

    def test_a_receiver_gets_no_more_than_it_takes(self, slicerApplication):
        import qt

        button, calls = qt.QPushButton(), []
        button.connect("clicked(bool)", lambda: calls.append("none"))
        button.connect("clicked(bool)", lambda *a: calls.append(a))
        button.click()
        assert calls == ["none", (False,)]

    def test_a_wrong_signature_connects_nothing(self, slicerApplication):
        import qt
        from standin import receivers

        assert not qt.QPushButton().connect("clicked(int)", print)
        assert "clicked(int)" in receivers.problems.pop()

    def test_an_exception_in_a_slot_is_printed_and_recorded(self, slicerApplication, capsys):
        import qt

        button = qt.QPushButton()
        button.connect("clicked()", lambda: 1 / 0)
        button.click()
        assert "ZeroDivisionError" in capsys.readouterr().err
        with pytest.raises(AssertionError):
            slicerApplication.raiseErrors()
        assert isinstance(slicerApplication.errors.pop(), ZeroDivisionError)

    def test_an_exception_in_an_observer_is_recorded(self, slicerApplication):
        import slicer

        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
        node.AddObserver("ModifiedEvent", lambda caller, event: 1 / 0)
        node.Modified()
        assert isinstance(slicerApplication.errors.pop(), ZeroDivisionError)

    def test_enums_are_integers_that_qt_takes(self, slicerApplication):
        import qt

        item = qt.QListWidgetItem("a")
        item.setCheckState(qt.Qt.Checked)
        item.setFlags(item.flags() & ~qt.Qt.ItemIsSelectable | qt.Qt.ItemIsUserCheckable)
        assert item.checkState() == qt.Qt.Checked == 2
        assert not item.flags() & qt.Qt.ItemIsSelectable
        assert item.text() == "a"  # no QObject: a method
        assert qt.QMessageBox.Ok | qt.QMessageBox.Cancel == 0x400400

    def test_lists_become_tuples(self, ui):
        assert ui.volume.nodeTypes == ("vtkMRMLScalarVolumeNode",)
        assert isinstance(ui.Sample.children(), tuple)

    def test_wrong_arguments_are_a_value_error(self, slicerApplication):
        import qt

        with pytest.raises(ValueError, match="overload"):
            qt.QLabel().setText()
        with pytest.raises(ValueError, match="overload"):
            qt.QPushButton([1])

    def test_a_timer_calls_once(self, slicerApplication):
        import qt

        calls = []
        qt.QTimer.singleShot(0, lambda: calls.append(1))
        slicerApplication.waitUntil(lambda: calls, 5)
        assert calls == [1]


class TestWidgets:
    def test_a_closed_section_hides_its_contents_until_it_opens(self, ui, slicerApplication):
        ui.Sample.show()
        slicerApplication.processEvents()
        assert ui.section.collapsed
        assert not ui.flag.visible
        ui.weight.visible = False
        ui.section.collapsed = False
        assert ui.flag.visible
        assert not ui.weight.visible

    def test_what_python_cannot_reach_in_slicer_it_cannot_reach_here(self, ui):
        for widget, name in ((ui.section, "setCollapsed"), (ui.weight, "setRange"), (ui.volume, "setNodeTypes")):
            with pytest.raises(AttributeError):
                getattr(widget, name)

    def test_the_selector_follows_the_scene(self, ui):
        import slicer

        first = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "first")
        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "other")
        assert ui.volume.nodeCount() == 1
        assert ui.volume.currentNode() is None
        seen = []
        ui.volume.connect("currentNodeChanged(vtkMRMLNode*)", seen.append)
        ui.volume.connect("currentNodeChanged(bool)", seen.append)
        ui.volume.setCurrentNode(first)
        assert seen == [first, True]
        assert ui.volume.currentNodeID == first.GetID()
        slicer.mrmlScene.RemoveNode(first)
        assert ui.volume.currentNode() is None
        assert seen[2:] == [None, False]

    def test_an_imported_scene_is_listed_at_its_end_and_the_choice_is_lost(self, ui, tmp_path):
        import slicer

        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "first")
        slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
        slicer.mrmlScene.Commit()
        ui.volume.setCurrentNode(node)
        seen = []
        ui.volume.connect("currentNodeChanged(vtkMRMLNode*)", seen.append)
        slicer.mrmlScene.Import()
        assert ui.volume.nodeCount() == 2
        assert ui.volume.currentNode() is None
        assert seen == [None]

    def test_without_none_the_first_node_is_chosen(self, slicerApplication):
        import slicer

        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "first")
        selector = slicer.qMRMLNodeComboBox()
        selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        selector.setMRMLScene(slicer.mrmlScene)
        assert selector.currentNode() is node

    def test_the_selector_makes_nodes(self, ui):
        added = []
        ui.volume.connect("nodeAddedByUser(vtkMRMLNode*)", added.append)
        ui.volume.baseName = "Warped"
        node = ui.volume.addNode()
        assert node.GetName() == "Warped"
        assert ui.volume.currentNode() is node
        assert added == [node]

    def test_the_selector_filters_by_attribute(self, ui):
        import slicer

        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
        ui.volume.addAttribute("vtkMRMLScalarVolumeNode", "kind", "pet")
        assert ui.volume.nodeCount() == 0
        node.SetAttribute("kind", "pet")
        assert ui.volume.nodeCount() == 1

    def test_checkable_selector(self, slicerApplication):
        import qt
        import slicer

        selector, changes = slicer.qMRMLCheckableNodeComboBox(), []
        selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        selector.setMRMLScene(slicer.mrmlScene)
        nodes = [slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name) for name in "ab"]
        selector.connect("checkedNodesChanged()", lambda: changes.append(1))
        selector.setCheckState(nodes[1], qt.Qt.Checked)
        assert selector.checkedNodes() == (nodes[1],)
        assert changes == [1]

    def test_a_ui_with_a_wrong_property_or_connection_is_refused(self, slicerApplication, tmp_path):
        import slicer

        for wrong in (UI.replace('"collapsed"', '"closed"'), UI.replace("<slot>setMRMLScene", "<slot>setScene")):
            (tmp_path / "wrong.ui").write_text(wrong)
            with pytest.raises(ValueError, match=r"closed|setScene"):
                slicer.util.loadUI(str(tmp_path / "wrong.ui"))


class Mode(enum.Enum):
    FAST = "fast"
    EXACT = "exact"


@pytest.fixture
def parameterNode(slicerApplication):
    import slicer

    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "parameters")


@pytest.fixture
def Parameters(slicerApplication):
    """A parameter node wrapper class with a parameter of every kind that the sample .ui connects, and more."""
    import slicer
    from slicer.parameterNodeWrapper import Default, WithinRange, parameterNodeWrapper

    @parameterNodeWrapper
    class Sample:
        volume: slicer.vtkMRMLScalarVolumeNode
        flag: bool = True
        mode: Mode = Mode.EXACT
        weight: Annotated[float, WithinRange(1, 5), Default(2.5)]
        count: int
        names: list[str]
        note: str
        limit: float | None

    return Sample


class TestParameterNodes:
    def test_defaults_are_written_at_once(self, Parameters, parameterNode):
        parameters = Parameters(parameterNode)
        assert (parameters.flag, parameters.mode, parameters.weight) == (True, Mode.EXACT, 2.5)
        assert (parameters.volume, parameters.count, parameters.note, parameters.limit) == (None, 0, "", None)
        assert parameters.names == []
        assert parameterNode.GetParameter("flag") == "True"
        assert parameterNode.GetParameter("mode") == "EXACT"
        assert parameterNode.GetParameter("weight") == "2.5"
        assert parameterNode.GetParameter("names.len") == "0"
        assert parameterNode.GetParameter("limit.1") == "True"

    def test_values_are_those_of_the_node(self, Parameters, parameterNode):
        import slicer

        parameters, other = Parameters(parameterNode), Parameters(parameterNode)
        parameters.volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
        parameters.names.append("a")
        parameters.names += ["b"]
        parameters.limit = 3.0
        parameters.mode = Mode.FAST
        assert other.volume is parameters.volume is parameterNode.GetNodeReference("volume")
        assert other.names == ["a", "b"]
        assert (other.limit, other.mode) == (3.0, Mode.FAST)
        parameters.names = []
        assert not parameterNode.HasParameter("names.0")

    def test_a_removed_node_is_none(self, Parameters, parameterNode):
        import slicer

        parameters = Parameters(parameterNode)
        parameters.volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
        slicer.mrmlScene.RemoveNode(parameters.volume)
        assert parameters.volume is None

    def test_wrong_values_are_refused(self, Parameters, parameterNode):
        import slicer

        parameters = Parameters(parameterNode)
        for name, value, error in (
            ("weight", 6.0, ValueError),
            ("weight", None, ValueError),
            ("flag", 1, TypeError),
            ("count", 1.5, TypeError),
            ("note", None, ValueError),
            ("mode", "FAST", TypeError),
            ("names", [1], TypeError),
            ("volume", slicer.vtkMRMLTransformNode(), TypeError),
            ("limit", "a", TypeError),
        ):
            with pytest.raises(error):
                setattr(parameters, name, value)

    def test_a_list_is_not_added_to(self, Parameters, parameterNode):
        names = Parameters(parameterNode).names
        with pytest.raises(NotImplementedError):
            names + ["a"]  # noqa: RUF005 - the operator is what is tested

    def test_the_gui_shows_and_sets_the_parameters(self, Parameters, parameterNode, ui):
        import slicer

        parameters = Parameters(parameterNode)
        tag = parameters.connectGui(ui)
        assert (ui.flag.checked, ui.mode.currentText, ui.mode.count, ui.weight.value) == (True, "EXACT", 2, 2.5)
        assert (ui.weight.minimum, ui.weight.maximum) == (1, 5)
        ui.flag.checked = False
        ui.mode.currentIndex = 0
        ui.weight.value = 3
        ui.volume.addNode()
        assert (parameters.flag, parameters.mode, parameters.weight) == (False, Mode.FAST, 3)
        assert parameters.volume is ui.volume.currentNode() is not None
        parameters.weight = 4
        assert ui.weight.value == 4
        parameters.disconnectGui(tag)
        ui.flag.checked = True
        parameters.weight = 5
        assert (parameters.flag, ui.weight.value) == (False, 4)
        slicer.mrmlScene.Clear()

    def test_a_widget_is_a_gui_too(self, Parameters, parameterNode, ui):
        parameters = Parameters(parameterNode)
        parameters.connectGui(ui.Sample)
        parameters.flag = False
        assert not ui.flag.checked

    def test_pairs_without_a_connector_are_refused(self, Parameters, parameterNode):
        import ctk
        import qt
        import slicer

        parameters = Parameters(parameterNode)
        for name, widget in (
            ("names", qt.QListWidget()),
            ("note", qt.QPlainTextEdit()),
            ("note", qt.QComboBox()),
            ("flag", qt.QRadioButton()),
            ("volume", slicer.qMRMLCheckableNodeComboBox()),
            ("count", qt.QSlider()),
        ):
            with pytest.raises(RuntimeError):
                parameters.connectParametersToGui({name: widget})
        with pytest.raises(ValueError, match="absent"):
            parameters.connectParametersToGui({"absent": ctk.ctkCheckBox()})

    def test_a_default_outside_its_range_is_refused(self, parameterNode):
        from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

        @parameterNodeWrapper
        class Sample:
            weight: Annotated[float, WithinRange(1, 5)]

        with pytest.raises(ValueError, match="0"):
            Sample(parameterNode)

    def test_parameters_survive_the_scene_file(self, Parameters, parameterNode, slicerApplication, tmp_path):
        import slicer

        Parameters(parameterNode).weight = 4.5
        path = tmp_path / "scene.mrml"
        slicer.mrmlScene.SetURL(str(path))
        slicer.mrmlScene.Commit()
        slicer.mrmlScene.Clear()
        slicer.mrmlScene.SetURL(str(path))
        slicer.mrmlScene.Import()
        assert Parameters(slicer.util.getNode("parameters")).weight == 4.5


MODULE = """
import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import *


class Sample(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Sample module")
        parent.categories = ["Registration"]


class SampleWidget(ScriptedLoadableModuleWidget):
    calls = []

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/Sample.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = SampleLogic()
        self.ui.apply.connect("clicked(bool)", self.onApply)
        self.calls.append("setup")

    def onApply(self, checked=False):
        with slicer.util.tryWithErrorDisplay("It failed."):
            raise RuntimeError("no reason")

    def enter(self):
        self.calls.append(f"enter {self.parent.isEntered}")

    def exit(self):
        self.calls.append("exit")

    def cleanup(self):
        self.calls.append("cleanup")


class SampleLogic(ScriptedLoadableModuleLogic):
    pass
"""


@pytest.fixture
def moduleFile(tmp_path):
    (tmp_path / "Resources" / "UI").mkdir(parents=True)
    (tmp_path / "Resources" / "UI" / "Sample.ui").write_text(UI)
    (tmp_path / "Sample.py").write_text(MODULE)
    return tmp_path / "Sample.py"


class TestApplication:
    def test_a_module_lives_and_leaves_nothing_behind(self, moduleFile):
        if not qtStarts():
            pytest.skip("PySide6 is not installed, or lacks a system library (docs/developer.md names them)")
        slicer = pytest.importorskip("slicer")
        import standin

        namesBefore, modulesBefore = set(vars(slicer)), set(sys.modules)
        with standin.SlicerApplication() as application:
            widget = application.loadModule(moduleFile)
            assert slicer.modules.sample.title == "Sample module"
            assert slicer.modules.sample.categories == ("Registration",)
            assert slicer.util.getModuleWidget("Sample") is widget is slicer.modules.SampleWidget
            assert slicer.util.getModuleLogic("Sample") is widget.logic
            assert widget.ui.volume.mrmlScene() is slicer.mrmlScene
            node = widget.logic.getParameterNode()
            assert node is widget.logic.getParameterNode()
            assert node.GetAttribute("ModuleName") == "Sample"
        assert widget.calls == ["setup", "enter True", "exit", "cleanup"]
        assert set(vars(slicer)) == namesBefore
        assert not {"qt", "ctk", "Sample", "slicer.i18n"} & (set(sys.modules) - modulesBefore)

    def test_messages_are_recorded_and_answered(self, slicerApplication, moduleFile):
        import slicer

        widget = slicerApplication.loadModule(moduleFile)
        widget.ui.apply.click()
        (message,) = slicerApplication.dialogs.messages
        assert (message.text, message.icon) == ("It failed.\n\nno reason", "critical")
        assert isinstance(slicerApplication.errors.pop(), RuntimeError)  # tryWithErrorDisplay raises it again
        assert slicer.util.confirmOkCancelDisplay("Really?")
        slicerApplication.dialogs.answer = "cancel"
        assert not slicer.util.confirmOkCancelDisplay("Really?")

    def test_a_file_dialog_returns_a_str(self, slicerApplication, tmp_path):
        import qt

        assert qt.QFileDialog.getSaveFileName(None, "Save", "a.csv", "*.csv") == ""
        chosen = str(tmp_path / "b.csv")
        slicerApplication.dialogs.fileNames.append(chosen)
        assert qt.QFileDialog.getSaveFileName(None, "Save", "a.csv", "*.csv") == chosen

    def test_a_module_imported_for_one_application_is_imported_anew_for_the_next(self):
        """Even where its package was there before: otherwise two classes of one name would meet."""
        pytest.importorskip("slicer")
        if not qtStarts():
            pytest.skip("PySide6 is not installed, or lacks a system library (docs/developer.md names them)")
        import MIRRBARegistrationLib.errors  # noqa: F401  the package, outside of any application
        import standin

        seen = []
        for _ in range(2):
            with standin.SlicerApplication() as application:
                application.loadModule(MODULE_FILE)
                request = sys.modules["MIRRBARegistrationLib.request"]
                assert sys.modules["MIRRBARegistrationLib.propagatePanel"].request is request
                seen.append(request)
        assert seen[0] is not seen[1]

    def test_settings_are_the_applications_own(self, slicerApplication):
        import qt
        import slicer

        qt.QSettings().setValue("Sample/answer", 42)
        assert int(slicer.app.userSettings().value("Sample/answer")) == 42
        assert str(slicerApplication.folder) in slicer.app.settings().fileName()

    def test_the_layout_has_real_slice_views(self, slicerApplication):
        import numpy as np
        import slicer

        volume = slicer.util.addVolumeFromArray(np.full((10, 20, 30), 100.0))
        slicer.util.setSliceViewerLayers(background=volume, fit=True)
        manager = slicer.app.layoutManager()
        assert manager.sliceViewNames() == ("Red", "Green", "Yellow")
        red = manager.sliceWidget("Red")
        assert red.mrmlSliceCompositeNode().GetBackgroundVolumeID() == volume.GetID()
        assert red.sliceLogic().GetSliceNode() is red.mrmlSliceNode()
        manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
        slicerApplication.processEvents()
        assert manager.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView
        assert red.visible
        assert not manager.sliceWidget("Green").visible

    def test_a_layout_of_ones_own(self, slicerApplication):
        import slicer

        view = '<item><view class="vtkMRMLSliceNode" singletontag="{0}"><property name="orientation" action="default">'
        view += 'Coronal</property><property name="viewlabel" action="default">{0}</property></view></item>'
        layout = f'<layout type="horizontal">{view.format("Before")}{view.format("After")}</layout>'
        manager = slicer.app.layoutManager()
        manager.layoutLogic().GetLayoutNode().AddLayoutDescription(751, layout)
        manager.setLayout(751)
        slicerApplication.processEvents()
        assert manager.sliceWidget("Before").visible
        assert manager.sliceWidget("After").mrmlSliceNode().GetOrientation() == "Coronal"

    def test_views_choose_for_themselves_when_a_volume_goes_or_a_scene_comes(self, slicerApplication, tmp_path):
        import numpy as np
        import slicer

        first, second = (slicer.util.addVolumeFromArray(np.zeros((4, 4, 4))) for _ in range(2))
        composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        for composite in composites:
            composite.SetLinkedControl(True)
            composite.SetBackgroundVolumeID(first.GetID())
        slicer.mrmlScene.RemoveNode(first)
        assert {composite.GetBackgroundVolumeID() for composite in composites} == {second.GetID()}
        slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
        slicer.mrmlScene.Commit()
        slicer.mrmlScene.Import()
        assert {composite.GetBackgroundVolumeID() for composite in composites} == {None}

    def test_the_screenshot_shows_panel_and_slices(self, slicerApplication, moduleFile, tmp_path):
        import numpy as np
        import slicer
        from PySide6.QtGui import QImage

        slicerApplication.loadModule(moduleFile)
        volume = slicer.util.addVolumeFromArray(np.tile(np.linspace(0, 100, 30), (10, 20, 1)))
        slicer.util.setSliceViewerLayers(background=volume, fit=True)
        slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
        slicerApplication.mainWindowScreenshot(tmp_path / "shot.png")
        image = QImage(str(tmp_path / "shot.png"))
        assert len({image.pixel(x, image.height() // 2) for x in range(600, image.width())}) > 10
        panel = {image.pixel(x, y) for x in range(20, 100) for y in range(image.height())}
        assert len(panel) > 10  # the section's title is drawn

    def test_requirements_are_asked_for_and_not_installed(self, slicerApplication, tmp_path):
        import slicer

        (tmp_path / "requirements.txt").write_text("# engine\nnumpy>=1\nno-such-package>=2\n")
        requirements = slicer.packaging.load_requirements(tmp_path / "requirements.txt")
        assert slicer.packaging.pip_check("numpy>=1")
        assert not slicer.packaging.pip_check(requirements)
        slicerApplication.dialogs.answer = "cancel"
        with pytest.raises(RuntimeError):
            slicer.packaging.pip_ensure(requirements, requester="Sample")
        slicerApplication.dialogs.answer = "ok"
        slicer.packaging.pip_ensure(requirements, requester="Sample")
        assert [r.name for r in slicerApplication.packaging.installed] == ["no-such-package"]
