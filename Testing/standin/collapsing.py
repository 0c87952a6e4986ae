"""What the collapsible ctk widgets share: they hide their children, and know which to show again."""

from __future__ import annotations

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Qt

_UNLIMITED = 16777215


class Collapsing:
    """A mixin for a checkable widget: checked is open.

    A child that is shown or hidden while it is closed is so when it opens.
    """

    def startCollapsing(self) -> None:
        self._shownWhenOpen: dict[QtCore.QObject, bool] = {}
        self._isHiding = False
        self.setCheckable(True)
        self.setChecked(True)
        self.toggled.connect(self._showContents)

    def headerHeight(self) -> int:
        return self.fontMetrics().height() + 8

    def _isCollapsed(self) -> bool:
        return not self.isChecked()

    def _setCollapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = Property(bool, _isCollapsed, _setCollapsed)

    def _showContents(self, opened: bool) -> None:
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget):
                self._showOrHide(child, opened)
        self.setMaximumHeight(_UNLIMITED if opened else self.headerHeight())
        self.updateGeometry()

    def _showOrHide(self, child: QtWidgets.QWidget, opened: bool) -> None:
        self._isHiding = True
        meant = self._shownWhenOpen.setdefault(child, _isMeantToBeShown(child))
        child.setVisible(opened and meant)
        if meant:  # else a later hide(), of a hidden child, would not be noticed
            child.setAttribute(Qt.WidgetAttribute.WA_WState_ExplicitShowHide, False)
        self._isHiding = False

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        # not when it is added: then it is only half constructed, and PySide6 would take it for a QWidget
        if event.polished() and isinstance(event.child(), QtWidgets.QWidget):
            event.child().installEventFilter(self)
            if self._isCollapsed():
                self._showOrHide(event.child(), False)
        super().childEvent(event)

    def eventFilter(self, child: QtCore.QObject, event: QtCore.QEvent) -> bool:
        kinds = (QtCore.QEvent.Type.ShowToParent, QtCore.QEvent.Type.HideToParent)
        if event.type() in kinds and not self._isHiding:
            self._shownWhenOpen[child] = event.type() == kinds[0]
            if self._isCollapsed() and self._shownWhenOpen[child]:
                self._showOrHide(child, False)
        return False


def _isMeantToBeShown(child: QtWidgets.QWidget) -> bool:
    """A widget is hidden until its window is shown; only an explicit hide() is meant."""
    isExplicit = child.testAttribute(Qt.WidgetAttribute.WA_WState_ExplicitShowHide)
    return not (isExplicit and child.testAttribute(Qt.WidgetAttribute.WA_WState_Hidden))
