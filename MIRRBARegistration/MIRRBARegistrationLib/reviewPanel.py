"""Looking at a result: overlay, maps, and the table whose rows lead to the lesions."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from . import layout
from .results import RESULT_ATTRIBUTE, Result
from .review import Review, View, afterObstacle

FLICKER_MSEC = 600
STATUS_MSEC = 5000
_COLUMN_WIDTH = 160  # pixels at most
_NEXT_KEY, _PREVIOUS_KEY, _SWITCH_KEY = "N", "P", "X"


class ReviewPanel:
    def __init__(self, ui, review: Review, isEntered: Callable[[], bool]) -> None:
        self._ui = ui
        self._review = review
        self._isEntered = isEntered
        self._isOpenDue = False
        self._parameters = None
        self._shown: tuple | None = None
        self._result: Result | None = None
        self._fixedID: str | None = None
        self._toChoose: str | None = None
        """The segment whose row was chosen, where another result of the same follow-up has come."""
        self._flickerOn = True
        self._afterToolTip = ui.afterButton.toolTip
        self._shortcuts: list = []
        self._flickerTimer = qt.QTimer()
        self._flickerTimer.setInterval(FLICKER_MSEC)
        self._flickerTimer.connect("timeout()", self._onFlicker)
        ui.segmentsTable.verticalHeader().setVisible(False)
        ui.segmentsTable.horizontalHeader().setHighlightSections(False)  # bold titles do not fit their columns
        ui.segmentsTable.tabKeyNavigation = False  # the key goes on to the next widget; arrows choose a row
        ui.resultSelector.addAttribute("vtkMRMLTableNode", RESULT_ATTRIBUTE, "1")
        ui.beforeButton.connect("clicked()", lambda: self._setBefore(True))
        ui.afterButton.connect("clicked()", lambda: self._setBefore(False))
        ui.segmentsTable.connect("currentCellChanged(int,int,int,int)", self._onRow)
        ui.segmentsTable.connect("cellClicked(int,int)", self._onClicked)
        ui.previousButton.connect("clicked()", lambda: self.step(-1))
        ui.nextButton.connect("clicked()", lambda: self.step(1))
        ui.exportTableButton.connect("clicked()", self._onExportTable)
        ui.exportPictureButton.connect("clicked()", self._onExportPicture)

    def setParameters(self, parameters) -> None:
        self._parameters = parameters
        self._shown = None

    def update(self) -> None:
        """Show the chosen result as the controls say; nothing happens if it is shown already."""
        parameters = self._parameters
        result = Result(parameters.result) if parameters.result is not None else None
        self._enable(result)
        view = self._view(result)
        self._ui.beforeButton.checked = view.before
        self._ui.afterButton.checked = not view.before
        shown = (parameters.result.GetID() if parameters.result is not None else None, view)
        if shown == self._shown:
            return
        isNew = self._shown is None or shown[0] != self._shown[0]
        if isNew:
            self._toChoose = self._chosenSegment(result)
        wasShown, self._shown, self._result = self._shown, shown, result
        if isNew:
            self._fillTable(result)
            if self._toChoose is None:
                self._review.memory.giveBackCrosshair()  # it may point into another patient
        if result is None:
            self._flickerTimer.stop()
            if wasShown is not None and wasShown[0] is not None and not self._review.isPreviewing:
                self._review.leave()
        elif self._isEntered() and (wasShown is not None or layout.isShown()):
            # but a scene that has just been opened keeps its own layout until the user asks
            if not layout.isShown() and (isNew or wasShown[1].before != view.before):
                self._arrange()
            elif not isNew and wasShown[1].orientation != view.orientation:
                layout.setOrientation(view.orientation.value)
                if layout.isShown():
                    self._jump(self._ui.segmentsTable.currentRow())  # turned, a view shows another place
            self.show()
            self._choose()

    def open(self) -> None:
        """Bring a new result into view: layout, zoom, controls; the inputs make room for them."""
        self._review.clear()  # maps of nodes that it has overwritten
        self._isOpenDue = not self._isEntered()
        if self._isOpenDue:
            return  # the user is at work in another module
        isInView = layout.isReviewing(Result(self._parameters.result).fixedVolume)
        self._arrange()
        self._ui.inputsCollapsibleButton.collapsed = True
        self._ui.reviewCollapsibleButton.collapsed = False
        self.show()
        if not isInView:  # else the user may be looking at a lesion
            qt.QTimer.singleShot(0, layout.fitViews)  # once the views have their new size

    def show(self) -> None:
        """Bring the views to the state of the controls."""
        if self._parameters.result is None:
            return
        self._result = Result(self._parameters.result)  # nodes may have been removed since
        self._fitIfElsewhere(self._result.fixedVolume)
        view = self._view(self._result)
        self._review.show(self._result, view, self._flickerOn)
        if view.mode.name == "FLICKER":
            self._flickerTimer.start()
        else:
            self._flickerTimer.stop()

    def _arrange(self) -> None:
        """The review layout, its views linked and turned as the control says. Nothing else undoes what the user did."""
        if layout.sliceNode(layout.FIXED) is None:
            qt.QTimer.singleShot(0, layout.fitViews)  # once the views are there
        self._review.memory.rememberLayout()
        self._review.memory.forgetLayout()
        layout.showReviewLayout(self._parameters.showLossPlot)
        layout.linkViews()
        layout.setOrientation(self._parameters.orientation.value)

    def _fitIfElsewhere(self, fixedVolume) -> None:
        """Another follow-up may lie elsewhere than the one whose place the views show."""
        if fixedVolume is not None:
            if self._fixedID not in (None, fixedVolume.GetID()):
                qt.QTimer.singleShot(0, layout.fitViews)
            self._fixedID = fixedVolume.GetID()

    def enter(self) -> None:
        """The module is shown: its keys work, and so do its colours."""
        if self._isOpenDue:
            self.open()
        elif layout.isShown() and self._parameters.result is not None:
            self._arrange()
            self.show()
        self._choose()
        window = slicer.util.mainWindow()
        if window is None or self._shortcuts:
            return
        for key, action in (
            (_NEXT_KEY, lambda: self.step(1)),
            (_PREVIOUS_KEY, lambda: self.step(-1)),
            (_SWITCH_KEY, lambda: self._setBefore(not self._parameters.showBefore)),
        ):
            shortcut = qt.QShortcut(qt.QKeySequence(key), window)
            shortcut.connect("activated()", action)
            self._shortcuts.append(shortcut)

    def exit(self) -> None:
        """Another module is shown: keys are its own, nothing moves, and volumes look as they did."""
        self._flickerTimer.stop()
        for shortcut in self._shortcuts:
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._shortcuts = []
        self._review.leave()

    def close(self) -> None:
        """The scene is being closed."""
        self._flickerTimer.stop()
        self._isOpenDue = False
        self._review.forget()
        self._review.memory.closeScene()
        self._ui.inputsCollapsibleButton.collapsed = False  # the next scene's are asked for
        self._shown = self._result = self._fixedID = None

    def hideNew(self) -> None:
        self._review.hideNew()

    def isShownThrough(self, node) -> bool:
        """Whether the node is the transform of the result that is shown."""
        return self._result is not None and node is self._result.transform

    def rememberLayout(self) -> None:
        """A scene goes or comes, perhaps with a review layout of its own."""
        self._review.memory.rememberLayout()

    def endImport(self) -> None:
        """A result that came with a scene is shown in that scene's layout, until the user asks for ours."""
        if self._result is None or self._parameters.result is not self._result.table:
            self._shown = None

    def step(self, by: int) -> None:
        """Go to the next or the previous row, around the end."""
        count = self._ui.segmentsTable.rowCount
        if count:
            row = self._ui.segmentsTable.currentRow()
            row = (row + by) % count if row >= 0 else 0
            self._ui.segmentsTable.setCurrentCell(row, 0)
            self._jump(row)  # also if it was the current one

    def _view(self, result: Result | None) -> View:
        parameters = self._parameters
        hasAfter = result is None or afterObstacle(result) is None
        return View(
            parameters.orientation,
            parameters.overlayMode,
            parameters.blend,
            parameters.showBefore or not hasAfter,
            parameters.showGrid,
            parameters.showJacobian,
        )

    def _enable(self, result: Result | None) -> None:
        ui, hasRows = self._ui, result is not None and result.rowCount > 0
        for widget in (ui.beforeButton, ui.afterButton):
            widget.enabled = result is not None
        ui.exportPictureButton.enabled = result is not None and not self._review.isPreviewing
        for widget in (ui.gridCheckBox, ui.jacobianCheckBox):
            widget.enabled = result is not None and result.transform is not None
        for widget in (ui.previousButton, ui.nextButton, ui.exportTableButton):
            widget.enabled = hasRows
        ui.segmentsTable.visible = hasRows
        obstacle = afterObstacle(result) if result is not None else None
        ui.afterButton.toolTip = self._afterToolTip
        if obstacle is not None:
            ui.afterButton.enabled = False
            ui.afterButton.toolTip = _(
                "The baseline lies under '{transform}', and no warped volume was kept: take it out, or keep one."
            ).format(transform=obstacle.GetName())

    def _fillTable(self, result: Result | None) -> None:
        table = self._ui.segmentsTable
        titles = result.titles if result is not None else []
        rows = result.rowCount if result is not None else 0
        table.clear()
        table.setRowCount(rows)
        table.setColumnCount(len(titles))
        table.setHorizontalHeaderLabels(titles)
        for row in range(rows):
            for column, title in enumerate(titles):
                table.setItem(row, column, qt.QTableWidgetItem(result.text(row, title)))
        for column, title in enumerate(titles):
            table.horizontalHeaderItem(column).setToolTip(result.note(title))
        table.resizeColumnsToContents()
        table.resizeRowsToContents()
        for column in range(len(titles)):
            table.setColumnWidth(column, min(table.columnWidth(column), _COLUMN_WIDTH))

    def _chosenSegment(self, result: Result | None) -> str | None:
        """Of the table as it is, where another result of the same follow-up comes."""
        row, last = self._ui.segmentsTable.currentRow(), self._result
        if row < 0 or last is None or result is None or last.fixedVolume is None:
            return None
        return self._ui.segmentsTable.item(row, 0).text() if last.fixedVolume is result.fixedVolume else None

    def _choose(self) -> None:
        table, segment, self._toChoose = self._ui.segmentsTable, self._toChoose, None
        for row in range(table.rowCount):
            if segment is not None and table.item(row, 0).text() == segment:
                table.setCurrentCell(row, 0)

    def _setBefore(self, before: bool) -> None:
        if self._parameters is not None:
            self._parameters.showBefore = before
            self.update()  # also where the button was down already
            if self._parameters.result is not None and self._isEntered() and not layout.isShown():
                self._arrange()
                self.show()

    def _onRow(self, row: int, column: int, previousRow: int, previousColumn: int) -> None:
        self._jump(row)

    def _onClicked(self, row: int, column: int) -> None:
        self._jump(row)

    def _jump(self, row: int) -> None:
        if self._result is None or row < 0:
            return
        if self._review.isPreviewing and not layout.isReviewing(self._result.fixedVolume):
            return  # another patient is shown
        self._review.memory.rememberCrosshair()
        position = self._result.position(row)
        if position is not None:
            layout.jumpTo(position)
            return
        layout.hideCrosshair()
        name = self._result.text(row, "Segment")
        slicer.util.showStatusMessage(_("{name} has no place on the follow-up.").format(name=name), STATUS_MSEC)

    def _onFlicker(self) -> None:
        self._flickerOn = not self._flickerOn
        if self._parameters is None or self._parameters.result is None:
            self._flickerTimer.stop()
        else:
            result = Result(self._parameters.result)
            self._review.show(result, self._view(result), self._flickerOn)

    def _onExportTable(self) -> None:
        path = _askPath(_("Save the table"), f"{self._result.table.GetName()}.csv", "CSV (*.csv)")
        if path:
            try:
                self._result.writeCsv(Path(path))
            except OSError as error:
                slicer.util.errorDisplay(
                    _("{path} could not be written ({error}); choose another folder.").format(
                        path=path, error=error.strerror
                    )
                )

    def _onExportPicture(self) -> None:
        path = _askPath(_("Save the overlay"), f"{self._result.table.GetName()}.png", "PNG (*.png)")
        if path:
            self.writePicture(path)
            if not Path(path).is_file():
                slicer.util.errorDisplay(_("{path} could not be written; choose another folder.").format(path=path))

    def writePicture(self, path: str) -> None:
        """The overlay view as it is on the screen."""
        import ScreenCapture

        if not layout.isShown():
            self._arrange()
        self.show()
        sliceView = slicer.app.layoutManager().sliceWidget(layout.OVERLAY).sliceView()
        Path(path).unlink(missing_ok=True)  # so that an old picture is not taken for the new one
        ScreenCapture.ScreenCaptureLogic().captureImageFromView(sliceView, path)


def _askPath(title: str, name: str, filter_: str) -> str:
    name = re.sub(r'[<>:"/\\|?*]', "_", name)  # of a node, which may hold anything
    path = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), title, name, filter_)
    ending = Path(name).suffix
    if not path or path.lower().endswith(ending):
        return path
    path += ending
    question = _("{name} exists already; replace it?").format(name=Path(path).name)  # the dialog asked for another name
    return path if not Path(path).exists() or slicer.util.confirmYesNoDisplay(question) else ""
