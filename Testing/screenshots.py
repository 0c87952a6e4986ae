"""`make screenshots`: the panel empty, running, finished and failed, for docs/tutorial.md.

The real module and engine on the stand-in for the application (docs/developer.md): the widgets are drawn by Qt as in
Slicer, the slices by Slicer's own slice logic; toolbars and view controllers are missing.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "MIRRBARegistration"))

from standin import SlicerApplication

ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT = 1400, 900


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--preset", default="default")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    with SlicerApplication() as application:
        take(application, options.output, options.preset)
        application.raiseErrors()


def take(application: SlicerApplication, folder: Path, preset: str) -> None:
    widget = application.loadModule(ROOT / "MIRRBARegistration" / "MIRRBARegistration.py")
    ui, run = widget.ui, widget.panel.run

    def picture(name: str) -> None:
        application.mainWindowScreenshot(folder / f"panel_{name}.png", WIDTH, HEIGHT)
        print(folder / f"panel_{name}.png")

    application.waitUntil(lambda: ui.deviceComboBox.count > 1, 120)
    picture("empty")
    ui.sampleDataButton.click()
    application.processEvents(200)
    ui.presetComboBox.setCurrentIndex(ui.presetComboBox.findText(preset))

    ui.applyButton.click()
    finest = re.compile(r"4 of 4 · iteration [34]\d")  # what is shown is nearly there
    application.waitUntil(lambda: run._preview is not None and finest.search(ui.statusLabel.text), 300)
    picture("running")
    application.waitUntil(lambda: run.queue is None, 3600)
    application.processEvents(200)
    ui.segmentsTable.setCurrentCell(4, 0)
    picture("finished")

    ui.applyButton.click()
    application.waitUntil(lambda: "iteration" in ui.statusLabel.text, 300)
    os.kill(run.queue.current.job._job._process.pid, signal.SIGKILL)
    application.waitUntil(lambda: run.queue is None, 60)
    ui.reviewCollapsibleButton.collapsed = True
    ui.logGroupBox.collapsed = False
    application.processEvents(200)
    picture("failed")


if __name__ == "__main__":
    main()
