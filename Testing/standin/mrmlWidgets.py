"""qMRML widgets on the real MRML scene: qMRMLWidget and the node selectors.

Offered to Python are the properties, public slots and Q_INVOKABLE methods of the real headers: `nodeTypes` is a
property, `setNodeTypes` and `nodes` do not exist. What the selectors do was read in qMRMLNodeComboBox.cxx,
qMRMLCheckableNodeComboBox.cxx, qMRMLSortFilterProxyModel.cxx and qMRMLNodeFactory.cxx of Slicer.
"""

from __future__ import annotations

import weakref

import shiboken6
import vtk
from PySide6 import QtGui, QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from .ctkWidgets import ComboBox
from .enums import enumValue
from .pythonqt import offered
from .uiLoader import registerCustomWidget

_NODE_ID = Qt.ItemDataRole.UserRole + 1
_ACTION = Qt.ItemDataRole.UserRole + 2
_observations: list[tuple] = []


def forgetScene() -> None:
    """Take every observer away, also those of selectors that are gone: the application ends."""
    for subject, tag in _observations:
        subject.RemoveObserver(tag)
    _observations.clear()


class MRMLWidget(QtWidgets.QWidget):
    """qMRMLWidget: hands the scene on to the widgets that the .ui connects to it."""

    slicerName = "qMRMLWidget"
    vtkSignals = ("mrmlSceneChanged(vtkMRMLScene*)",)
    mrmlSceneChanged = Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene = None

    @offered
    def mrmlScene(self):
        return self._scene

    @offered
    def setMRMLScene(self, newScene) -> None:
        if newScene is not self._scene:
            self._scene = newScene
            self.mrmlSceneChanged.emit(newScene)


class NodeComboBox(QtWidgets.QWidget):
    """qMRMLNodeComboBox: the scene's nodes of some classes, below None and above the actions on them."""

    slicerName = "qMRMLNodeComboBox"
    vtkSignals = (
        "currentNodeChanged(vtkMRMLNode*)",
        "nodeActivated(vtkMRMLNode*)",
        "nodeAdded(vtkMRMLNode*)",
        "nodeAddedByUser(vtkMRMLNode*)",
        "nodeAddedByUserAction(vtkMRMLNode*)",
        "nodeAboutToBeRemoved(vtkMRMLNode*)",
        "nodeAboutToBeEdited(vtkMRMLNode*)",
    )
    currentNodeChanged = Signal((object,), (bool,))
    currentNodeIDChanged = Signal(str)
    nodeActivated = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeAddedByUserAction = Signal(object)
    nodeAboutToBeRemoved = Signal(object)
    nodeAboutToBeEdited = Signal(object)
    currentNodeRenamed = Signal(str)
    _defaultActions = True

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene = None
        self._observed: list[tuple] = []
        self._requestedID = ""
        self._types: list[str] = []
        self._hiddenChildTypes: list[str] = []
        self._attributes: dict[str, tuple] = {}
        self._baseNames: dict[str, str] = {}
        self._typeLabels: dict[str, str] = {}
        self._flags = {
            "showHidden": False,
            "showChildNodeTypes": True,
            "noneEnabled": False,
            "addEnabled": self._defaultActions,
            "removeEnabled": self._defaultActions,
            "editEnabled": False,
            "renameEnabled": False,
            "selectNodeUponCreation": True,
        }
        self._noneText = "None"
        self._switching = False
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._comboBox = self._makeComboBox()
        self._comboBox.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Expanding)
        self._comboBox.setMinimumContentsLength(8)
        self._comboBox.setSizeAdjustPolicy(QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        layout.addWidget(self._comboBox)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Preferred, QtWidgets.QSizePolicy.Policy.Fixed)
        self._comboBox.currentTextChanged.connect(self._onCurrentTextChanged)
        self._comboBox.activated.connect(self._onActivated)
        self.setEnabled(False)

    def _makeComboBox(self) -> QtWidgets.QComboBox:
        return ComboBox(self)

    # The scene

    @offered
    def mrmlScene(self):
        return self._scene

    @offered
    def setMRMLScene(self, scene) -> None:
        if scene is self._scene:
            return
        previousID = self.currentNodeID if self.nodeCount() > 0 else None
        self._unobserve()
        self._scene = scene
        self._observe()
        self._switching = True
        self._fill()
        self._switching = False
        self._updateDefaultText()
        # without a None item the first node is chosen: the view's root changes below index 0
        first = "" if self._flags["noneEnabled"] or not self.nodeCount() else self.nodeFromIndex(0).GetID()
        self._setCurrentID(previousID if previousID is not None else self._requestedID or first)
        self._requestedID = ""
        self.setEnabled(scene is not None)

    def _observe(self) -> None:
        if self._scene is None:
            return
        selector = weakref.ref(self)

        def handler(method: str):
            @vtk.calldata_type(vtk.VTK_OBJECT)
            def onEvent(caller, event, node=None) -> None:
                if (target := selector()) is not None and shiboken6.isValid(target):
                    getattr(target, method)(node)

            return onEvent

        for event, method, priority in (
            (self._scene.NodeAddedEvent, "_onNodeAdded", 10.0),
            (self._scene.NodeAboutToBeRemovedEvent, "_onNodeAboutToBeRemoved", -10.0),
            (self._scene.EndImportEvent, "_repopulate", 0.0),
            (self._scene.EndCloseEvent, "_repopulate", 0.0),
        ):
            self._addObserver(self._scene, event, handler(method), priority)

    def _addObserver(self, subject, event, handler, priority: float = 0.0) -> None:
        self._observed.append((subject, subject.AddObserver(event, handler, priority)))
        _observations.append(self._observed[-1])

    def _unobserve(self, node=None) -> None:
        """The node, or everything."""
        for observation in [o for o in self._observed if node is None or o[0] is node]:
            observation[0].RemoveObserver(observation[1])
            self._observed.remove(observation)
            _observations.remove(observation)

    def _watch(self, node) -> None:
        """A node may be renamed, or begin or cease to match."""
        if any(subject is node for subject, _ in self._observed):
            return
        selector = weakref.ref(self)

        def onModified(caller, event) -> None:
            if (target := selector()) is not None and shiboken6.isValid(target):
                target._onNodeModified(caller)

        self._addObserver(node, vtk.vtkCommand.ModifiedEvent, onModified)

    def _repopulate(self, _) -> None:
        """A scene was imported or closed: the nodes leave the list and come back, and the current one is lost."""
        nodeCount = self._nodeRows()
        if nodeCount:
            self._model().removeRows(self._firstRow(), nodeCount)
            if self.currentNode() is None:
                self.setCurrentNode(None)
        for index in range(self._scene.GetNumberOfNodes()):
            self._onNodeAdded(self._scene.GetNthNode(index))

    def _onNodeAdded(self, node) -> None:
        if self._scene.IsImporting():  # its ID may still change: _repopulate lists it
            return
        if node is None or not any(node.IsA(t) for t in self._types or ["vtkMRMLNode"]):
            return
        self._watch(node)
        if self._accepts(node):
            self._insert(self._firstRow() + self.nodeCount(), node)
            self.nodeAdded.emit(node)

    def _onNodeAboutToBeRemoved(self, node) -> None:
        row = self._rowOf(node.GetID()) if node is not None and not self._scene.IsClosing() else -1
        if row >= 0:
            self.nodeAboutToBeRemoved.emit(node)
            self._remove(row)
        self._unobserve(node)

    def _onNodeModified(self, node) -> None:
        row = self._rowOf(node.GetID())
        if self._scene.IsImporting() or self._scene.IsClosing():
            return
        if row < 0 and self._accepts(node):
            self._insert(self._firstRow() + self.nodeCount(), node)
        elif row >= 0 and not self._accepts(node):
            self._remove(row)
        elif row >= 0 and self._model().item(row).text() != (node.GetName() or ""):
            self._model().item(row).setText(node.GetName() or "")

    # What is listed

    def _accepts(self, node) -> bool:
        if node.GetHideFromEditors() and not self._flags["showHidden"]:
            return False
        if not self._types:
            return True
        return any(self._matches(node, nodeType) for nodeType in self._types)

    def _matches(self, node, nodeType: str) -> bool:
        if not node.IsA(nodeType):
            return False
        if not self._flags["showChildNodeTypes"] and node.GetClassName() != nodeType:
            return False
        if self._flags["showChildNodeTypes"] and any(node.IsA(t) for t in self._hiddenChildTypes):
            return False
        name, wanted = self._attributes.get(nodeType, (None, None))
        if name is None:
            return True
        found = node.GetAttribute(name)
        return found is not None and (wanted is None or found == str(wanted))

    def _model(self) -> QtGui.QStandardItemModel:
        return self._comboBox.model()

    def _firstRow(self) -> int:
        return 1 if self._flags["noneEnabled"] and self._scene is not None else 0

    def _rowOf(self, nodeID: str | None) -> int:
        model = self._model()
        if not nodeID:
            return -1
        return next((r for r in range(model.rowCount()) if model.item(r).data(_NODE_ID) == nodeID), -1)

    def _insert(self, row: int, node) -> None:
        item = QtGui.QStandardItem(node.GetName() or "")
        item.setData(node.GetID(), _NODE_ID)
        self._prepare(item)
        self._model().insertRow(row, item)

    def _prepare(self, item: QtGui.QStandardItem) -> None:
        """For the checkable selector."""

    def _remove(self, row: int) -> None:
        self._model().removeRow(row)
        if self.currentNode() is None:
            self.setCurrentNode(None)

    def _fill(self) -> None:
        """List everything anew, and keep the current node if it is still listed."""
        currentID = self.currentNodeID
        wasSwitching, self._switching = self._switching, True
        self._model().clear()
        if self._scene is not None:
            if self._flags["noneEnabled"]:
                self._model().appendRow(QtGui.QStandardItem(self._noneText))
            for index in range(self._scene.GetNumberOfNodes()):
                node = self._scene.GetNthNode(index)
                if any(node.IsA(t) for t in self._types or ["vtkMRMLNode"]):
                    self._watch(node)
                    if self._accepts(node):
                        self._insert(self._model().rowCount(), node)
            self._appendActions()
        row = self._rowOf(currentID)
        self._comboBox.setCurrentIndex(row if row >= 0 else self._firstRow() - 1)
        self._switching = wasSwitching
        if not self._switching and self.currentNodeID != currentID:
            self._onCurrentTextChanged()

    def _appendActions(self) -> None:
        label = self.nodeTypeLabel(self._types[0] if len(self._types) == 1 else "")
        actions = [
            ("renameEnabled", "RENAME", f"Rename current {label}"),
            ("editEnabled", "EDIT", f"Edit current {label}"),
        ]
        for nodeType in self._types:
            typeLabel = self.nodeTypeLabel(nodeType)
            actions.append(("addEnabled", f"CREATE/{nodeType}", f"Create new {typeLabel}"))
        actions.append(("removeEnabled", "DELETE", f"Delete current {label}"))
        enabled = [(data, text) for flag, data, text in actions if self._flags[flag]]
        if enabled:
            self._comboBox.insertSeparator(self._model().rowCount())
        for data, text in enabled:
            item = QtGui.QStandardItem(text)
            item.setData(data, _ACTION)
            self._model().appendRow(item)

    def _updateDefaultText(self) -> None:
        if isinstance(self._comboBox, ComboBox):
            label = self.nodeTypeLabel(self._types[0] if self._types else "")
            self._comboBox.defaultText = f"Select a {label}"

    # The current node

    @offered
    def currentNode(self):
        return self._nodeAt(self._comboBox.currentIndex())

    def _nodeAt(self, row: int):
        item = self._model().item(row) if row >= 0 else None
        nodeID = item.data(_NODE_ID) if item is not None else None
        return self._scene.GetNodeByID(nodeID) if nodeID and self._scene is not None else None

    @offered
    def setCurrentNode(self, node) -> None:
        if isinstance(node, str):  # the deprecated overload
            self.setCurrentNodeID(node)
            return
        if node is not None and not hasattr(node, "GetID"):
            raise ValueError(f"Could not find matching overload for given arguments: {node!r} of setCurrentNode")
        self.setCurrentNodeID((node.GetID() or "") if node is not None else "")

    @offered
    def setCurrentNodeID(self, nodeID: str) -> None:
        if self._scene is None:
            self._requestedID = nodeID
        self._setCurrentID(nodeID)

    @offered
    def setCurrentNodeIndex(self, index: int) -> None:
        index = -1 if index >= self.nodeCount() else index
        self._comboBox.setCurrentIndex(index + self._firstRow())

    def _setCurrentID(self, nodeID: str | None) -> None:
        row = self._rowOf(nodeID)
        self._comboBox.setCurrentIndex(row if row >= 0 else self._firstRow() - 1)

    def _onCurrentTextChanged(self) -> None:
        if self._switching:
            return
        row, node = self._comboBox.currentIndex(), self.currentNode()
        if node is None and row != self._firstRow() - 1:  # an action item, after the last node was removed
            last = self.nodeFromIndex(self.nodeCount() - 1)
            if last is not None:
                self.setCurrentNode(last)
            return
        self.currentNodeChanged[object].emit(node)
        self.currentNodeChanged[bool].emit(node is not None)
        self.currentNodeIDChanged.emit(node.GetID() if node is not None else "")

    def _onActivated(self, row: int) -> None:
        """The user chose an item: a node, None, or something to do."""
        action = self._model().item(row).data(_ACTION) or ""
        if not action:
            self.nodeActivated.emit(self._nodeAt(row))
        elif action.startswith("CREATE/"):
            node = self.addNode(action.partition("/")[2])
            self.setCurrentNode(node)
            self.nodeAddedByUserAction.emit(node)
        else:
            {"DELETE": self.removeCurrentNode, "EDIT": self.editCurrentNode, "RENAME": self.renameCurrentNode}[action]()

    @offered
    def nodeCount(self) -> int:
        return self._nodeRows()

    def _nodeRows(self) -> int:
        model = self._model()
        return sum(model.item(r).data(_NODE_ID) is not None for r in range(model.rowCount()))

    @offered
    def nodeFromIndex(self, index: int):
        return self._nodeAt(index + self._firstRow())

    # What a user does

    @offered
    def addNode(self, nodeType: str | None = None):
        nodeType = nodeType or (self._types[0] if self._types else "")
        if self._scene is None or nodeType not in self._types:
            return None
        node = self._scene.CreateNodeByClass(nodeType)
        node.UnRegister(None)
        baseName = self._baseNames.get(nodeType) or (None if node.GetName() else node.GetDefaultNodeNamePrefix())
        if baseName:
            node.SetName(self._scene.GetUniqueNameByString(baseName))
        for name, value in self._attributes.values():
            node.SetAttribute(name, "" if value is None else str(value))
        node = self._scene.AddNode(node)
        if self._flags["selectNodeUponCreation"]:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    @offered
    def removeCurrentNode(self) -> None:
        self._scene.RemoveNode(self.currentNode())

    @offered
    def editCurrentNode(self) -> None:
        self.nodeAboutToBeEdited.emit(self.currentNode())

    @offered
    def renameCurrentNode(self) -> None:
        node = self.currentNode()
        if node is None:
            return
        name, accepted = QtWidgets.QInputDialog.getText(self, "Rename", "New name:", text=node.GetName())
        if accepted and name:
            node.SetName(name)
            self.currentNodeRenamed.emit(name)

    @offered
    def addAttribute(self, nodeType: str, attributeName: str, attributeValue=None) -> None:
        if nodeType in self._types:  # the filter ignores other types
            self._attributes[nodeType] = (attributeName, attributeValue)
            self._fill()

    @offered
    def removeAttribute(self, nodeType: str, attributeName: str) -> None:
        if self._attributes.get(nodeType, ("",))[0] == attributeName:
            del self._attributes[nodeType]
            self._fill()

    @offered
    def nodeTypeLabel(self, nodeType: str) -> str:
        if nodeType in self._typeLabels:
            return self._typeLabels[nodeType]
        label = self._scene.GetTypeDisplayNameByClassName(nodeType) if self._scene is not None and nodeType else ""
        return label or "node"

    @offered
    def setNodeTypeLabel(self, label: str, nodeType: str) -> None:
        self._typeLabels[nodeType] = label
        self._fill()
        self._updateDefaultText()

    # Properties

    def _setTypes(self, types) -> None:
        self._types = [t for t in types if t]
        self._fill()
        self._updateDefaultText()

    def _setHiddenChildTypes(self, types) -> None:
        self._hiddenChildTypes = list(types)
        self._fill()

    def _setBaseName(self, baseName: str) -> None:
        for nodeType in self._types:
            self._baseNames[nodeType] = baseName

    def _setNoneDisplay(self, text: str) -> None:
        self._noneText = text
        self._fill()

    def _setFlag(self, name: str, value: bool) -> None:
        if self._flags[name] != value:
            self._flags[name] = value
            self._fill()

    currentNodeID = Property(
        str,
        lambda self: self.currentNode().GetID() if self.currentNode() is not None else "",
        setCurrentNodeID,
        notify=currentNodeIDChanged,
    )
    nodeTypes = Property("QStringList", lambda self: self._types, _setTypes)
    hideChildNodeTypes = Property("QStringList", lambda self: self._hiddenChildTypes, _setHiddenChildTypes)
    baseName = Property(str, lambda self: self._baseNames.get(next(iter(self._types), ""), ""), _setBaseName)
    noneDisplay = Property(str, lambda self: self._noneText, _setNoneDisplay)
    showHidden = Property(bool, lambda s: s._flags["showHidden"], lambda s, v: s._setFlag("showHidden", v))
    showChildNodeTypes = Property(
        bool, lambda s: s._flags["showChildNodeTypes"], lambda s, v: s._setFlag("showChildNodeTypes", v)
    )
    noneEnabled = Property(bool, lambda s: s._flags["noneEnabled"], lambda s, v: s._setFlag("noneEnabled", v))
    addEnabled = Property(bool, lambda s: s._flags["addEnabled"], lambda s, v: s._setFlag("addEnabled", v))
    removeEnabled = Property(bool, lambda s: s._flags["removeEnabled"], lambda s, v: s._setFlag("removeEnabled", v))
    editEnabled = Property(bool, lambda s: s._flags["editEnabled"], lambda s, v: s._setFlag("editEnabled", v))
    renameEnabled = Property(bool, lambda s: s._flags["renameEnabled"], lambda s, v: s._setFlag("renameEnabled", v))
    selectNodeUponCreation = Property(
        bool, lambda s: s._flags["selectNodeUponCreation"], lambda s, v: s._setFlag("selectNodeUponCreation", v)
    )


class CheckedNodesBox(QtWidgets.QComboBox):
    """The combo box inside a checkable selector: its text is the names that are checked."""

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionComboBox()
        self.initStyleOption(option)
        option.currentText = self._text()
        painter.drawComplexControl(QtWidgets.QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_ComboBoxLabel, option)

    def _text(self) -> str:
        items = [self.model().item(row) for row in range(self.count())]
        nodes = [item for item in items if item is not None and item.data(_NODE_ID)]
        checked = [item.text() for item in nodes if item.checkState() == Qt.CheckState.Checked]
        if nodes and len(checked) == len(nodes):
            return "All"
        return ", ".join(checked) or "None"


class CheckableNodeComboBox(NodeComboBox):
    """qMRMLCheckableNodeComboBox: several nodes at once."""

    slicerName = "qMRMLCheckableNodeComboBox"
    checkedNodesChanged = Signal()
    _defaultActions = False

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._model().dataChanged.connect(self._onDataChanged)

    def _makeComboBox(self) -> QtWidgets.QComboBox:
        return CheckedNodesBox(self)

    def _prepare(self, item: QtGui.QStandardItem) -> None:
        item.setCheckable(True)
        item.setCheckState(Qt.CheckState.Unchecked)

    def _fill(self) -> None:
        checked = [node.GetID() for node in self.checkedNodes()] if self._scene is not None else []
        super()._fill()
        for nodeID in checked:
            if (row := self._rowOf(nodeID)) >= 0:
                self._model().item(row).setCheckState(Qt.CheckState.Checked)

    def _onDataChanged(self, first, last, roles) -> None:
        if Qt.ItemDataRole.CheckStateRole in roles:
            self.checkedNodesChanged.emit()
            self._comboBox.update()

    def _nodes(self) -> list:
        return [self.nodeFromIndex(index) for index in range(self.nodeCount())]

    def _isChecked(self, node) -> bool:
        row = self._rowOf(node.GetID()) if node is not None else -1
        return row >= 0 and self._model().item(row).checkState() == Qt.CheckState.Checked

    @offered
    def checkedNodes(self) -> list:
        return [node for node in self._nodes() if node is not None and self._isChecked(node)]

    @offered
    def uncheckedNodes(self) -> list:
        return [node for node in self._nodes() if node is not None and not self._isChecked(node)]

    @offered
    def allChecked(self) -> bool:
        return bool(self._nodes()) and not self.uncheckedNodes()

    @offered
    def noneChecked(self) -> bool:
        return not self.checkedNodes()

    @offered
    def checkState(self, node):
        return enumValue(Qt.CheckState.Checked if self._isChecked(node) else Qt.CheckState.Unchecked)

    @offered
    def setCheckState(self, node, check) -> None:
        row = self._rowOf(node.GetID()) if node is not None else -1
        if row >= 0:
            self._model().item(row).setCheckState(Qt.CheckState(getattr(check, "value", check)))

    @offered
    def check(self, node) -> None:
        self.setCheckState(node, Qt.CheckState.Checked)

    @offered
    def uncheck(self, node) -> None:
        self.setCheckState(node, Qt.CheckState.Unchecked)


WIDGETS = (MRMLWidget, NodeComboBox, CheckableNodeComboBox)

for _widget in WIDGETS:
    registerCustomWidget(_widget)
