"""The engine's sentences for whoever sees the panel: its settings have other names there, and labels for values."""

from __future__ import annotations

import re

from slicer.i18n import tr as _

from .parameters import Initialisation

_INIT = "none|centre|rigid|affine"
_START = re.compile(rf"init=({_INIT})(?: or (?:init=)?({_INIT})\b)?")
_SETTING = re.compile(r"Setting '(\w+)'")
_SPACING = re.compile(r"\ba (finer |coarser )?spacing\b")


def inPanelsWords(sentence: str) -> str:
    sentence = _START.sub(_start, sentence).replace("another init ", "another initialisation ")
    sentence = _SPACING.sub(lambda found: f"a {found[1] or ''}working grid", sentence)
    return _SETTING.sub(lambda found: _named(found[1]) or found[0], sentence)


def _start(found: re.Match) -> str:
    labels = [Initialisation(name).label() for name in found.groups() if name is not None]
    return _("Advanced › Initialisation: {start}").format(start=" or ".join(labels))


def _named(setting: str) -> str | None:
    names = {
        "depth": _("Levels"),
        "iterations": _("Iterations"),
        "smooth": _("Smoothness λ"),
        "spacing": _("Working grid (mm)"),
    }
    return _("Advanced › {name}").format(name=names[setting]) if setting in names else None
