"""The numbers of the paper, to be read beside ours: Fourcade et al. 2022, Tables 1 and 2.

110 pairs of breast cancer patients in two centres, which are not public. Rates in %, time in minutes. Where the paper
trains (DL), `minutes` is inference and `training_minutes` the training. It prints a standard deviation for Dice and
SDJDet alone, and no row for MIRRBA wo RB (section 5.2: null Dice scores and detection rate, very high SDJDet).
"""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = "Fourcade et al. 2022, doi:10.1088/1361-6560/ac7e17, Tables 1 and 2 of the authors' manuscript"


@dataclass(frozen=True)
class Row:
    """A line of a table; Dice and SDJDet as (mean, SD)."""

    detection_rate: float
    dice_organs: tuple[float, float]
    dice_lesions: tuple[float, float]
    sd_jacobian: tuple[float, float]
    disappearing_rate: float
    minutes: float
    training_minutes: float | None = None


PAPER: dict[str, Row] = {
    "identity": Row(5.00, (0.626, 0.138), (0.090, 0.115), (0.000, 0.000), 0.00, 0),
    "mirrba": Row(33.04, (0.918, 0.126), (0.425, 0.207), (0.124, 0.988), 9.36, 55),
    "dl-lapirn": Row(11.76, (0.878, 0.076), (0.258, 0.198), (0.464, 1.367), 19.15, 3, 1450),
    "dl-voxelmorph": Row(14.13, (0.865, 0.077), (0.279, 0.192), (0.224, 0.186), 5.67, 2, 1200),
    "elastix": Row(20.54, (0.868, 0.124), (0.350, 0.191), (0.096, 0.044), 9.59, 25),
    "syn": Row(24.57, (0.936, 0.023), (0.386, 0.210), (0.016, 0.018), 0.00, 5),
    "syncc": Row(39.57, (0.944, 0.014), (0.477, 0.211), (0.073, 0.066), 4.26, 60),
    "combined": Row(43.36, (0.945, 0.012), (0.477, 0.202), (0.067, 0.076), 19.88, 115),
    "mirrba-wo-regu": Row(33.70, (0.868, 0.199), (0.407, 0.219), (6.655, 30.709), 16.84, 55),
    "mirrba-wo-archi": Row(20.54, (0.753, 0.144), (0.239, 0.223), (1.247, 0.475), 59.95, 20),
    "mirrba-depth-1": Row(11.74, (0.748, 0.169), (0.239, 0.211), (0.016, 0.047), 4.82, 30),
    "mirrba-depth-2": Row(23.26, (0.873, 0.135), (0.364, 0.211), (0.038, 0.174), 7.56, 45),
    "mirrba-depth-4": Row(40.22, (0.934, 0.092), (0.456, 0.209), (0.104, 0.223), 15.12, 60),
    "mirrba-level-1": Row(4.35, (0.722, 0.091), (0.221, 0.157), (0.013, 0.010), 0.00, 2),
    "mirrba-level-2": Row(19.78, (0.869, 0.114), (0.371, 0.198), (0.035, 0.1737), 0.00, 10),
    "mirrba-max": Row(33.26, (0.922, 0.098), (0.426, 0.213), (0.316, 2.934), 8.34, 55),
    "mirrba-up": Row(33.04, (0.922, 0.112), (0.439, 0.204), (0.056, 0.309), 8.84, 55),
    "mirrba-def-conv": Row(35.22, (0.487, 0.463), (0.257, 0.275), (0.027, 0.020), 12.23, 130),
    "mirrba-depth-4-max-up": Row(37.83, (0.935, 0.091), (0.459, 0.201), (0.088, 0.380), 13.05, 60),
}


def mean(method: str, metric: str) -> float | None:
    """The paper's mean, in the units of `scoreboard.METRICS`; None where it has none."""
    row = PAPER.get(method)
    value = None if row is None else getattr(row, metric, None)
    return value[0] if isinstance(value, tuple) else value


def text(method: str, metric: str) -> str | None:
    """As the paper prints it."""
    row = PAPER.get(method)
    value = None if row is None else getattr(row, metric, None)
    if row is None or value is None:
        return None
    if isinstance(value, tuple):
        return f"{value[0]:.3f} ± {value[1]:.3f}"
    if metric == "minutes":
        return f"{value:g}" if row.training_minutes is None else f"{row.training_minutes:g} – {value:g}"
    return f"{value:.2f}"
