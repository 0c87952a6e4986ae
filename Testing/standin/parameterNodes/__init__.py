"""slicer.parameterNodeWrapper: typed parameters in a parameter node, and their connection to widgets.

Our own implementation of what Slicer documents and its sources do (Base/Python/slicer/parameterNodeWrapper): the same
stored text, so that a saved scene is Slicer's; the same pairs of widget and type; the same kinds of errors.
Parameter packs, tuples, dictionaries and colours are not offered.
"""

from .annotations import (
    Choice,
    Decimals,
    Default,
    Exclude,
    IsInstance,
    Maximum,
    Minimum,
    NotNone,
    SingleStep,
    Validator,
    WithinRange,
    findFirstAnnotation,
    splitAnnotations,
    unannotatedType,
)
from .connectors import GuiConnector, createGuiConnector
from .wrapper import (
    SlicerParameterNamePropertyName,
    findChildWidgetForParameter,
    isParameterNodeWrapper,
    parameterNodeWrapper,
)

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Exclude",
    "GuiConnector",
    "IsInstance",
    "Maximum",
    "Minimum",
    "NotNone",
    "SingleStep",
    "SlicerParameterNamePropertyName",
    "Validator",
    "WithinRange",
    "createGuiConnector",
    "findChildWidgetForParameter",
    "findFirstAnnotation",
    "isParameterNodeWrapper",
    "parameterNodeWrapper",
    "splitAnnotations",
    "unannotatedType",
]
