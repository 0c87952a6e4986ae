"""The statistics of the paper (section 4.5): mean ± SD, and paired tests between two methods on the same pairs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
import numpy.typing as npt

SIGNIFICANT = 0.05
FEWEST = 3  # pairs; below, neither normality nor a difference can be tested

Values = Sequence[float | None]
"""A score of each pair, in the order of the pairs; None (or NaN) where there is none."""


@dataclass(frozen=True)
class Summary:
    """Of the pairs that have the score."""

    n: int
    mean: float | None
    sd: float | None
    """Of the sample (n − 1); None for fewer than two."""


@dataclass(frozen=True)
class Comparison:
    """Two methods on the pairs that both have a score of."""

    n: int
    difference: float | None
    """Mean over the pairs of the first minus the second."""
    normality_p: float | None = None
    """Shapiro–Wilk, on the differences."""
    t_p: float | None = None
    """Paired t-test, two-sided."""
    wilcoxon_p: float | None = None
    """Wilcoxon's signed ranks, two-sided; only where normality is rejected."""

    @property
    def p(self) -> float | None:
        """The one that counts: Wilcoxon's where normality is rejected, else the t-test's."""
        return self.t_p if self.wilcoxon_p is None else self.wilcoxon_p

    @property
    def test(self) -> str | None:
        if self.p is None:
            return None
        return "t" if self.wilcoxon_p is None else "Wilcoxon"


def summary(values: Values) -> Summary:
    known = [value for value in values if _known(value)]
    mean = statistics.fmean(known) if known else None
    return Summary(len(known), mean, statistics.stdev(known) if len(known) > 1 else None)


def compare(first: Values, second: Values) -> Comparison:
    """Both in the same order of pairs; a pair that lacks either score is left out, which `n` shows."""
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if _known(a) and _known(b)]
    differences = np.array([a - b for a, b in pairs], np.float64)
    if len(differences) == 0:
        return Comparison(0, None)
    mean = float(differences.mean())
    if len(differences) < FEWEST:
        return Comparison(len(differences), mean)
    if np.ptp(differences) <= 1e-12 * max(1.0, abs(mean)):
        # No spread, no test: what is equal everywhere does not differ; a constant shift is beyond these tests.
        return Comparison(len(differences), mean, t_p=1.0 if abs(mean) <= 1e-12 else None)
    return _tested(differences, mean)


def _tested(differences: npt.NDArray[np.float64], mean: float) -> Comparison:
    from scipy import stats

    differences = differences.round(9)  # equal differences, and none, must tie: rounding errors are no ranks
    normality = float(stats.shapiro(differences).pvalue)
    t = float(stats.ttest_1samp(differences, 0.0).pvalue)
    wilcoxon = float(stats.wilcoxon(differences).pvalue) if normality < SIGNIFICANT else None
    return Comparison(len(differences), mean, normality, t, wilcoxon)


def holm(values: Values) -> list[float | None]:
    """Holm's step-down correction of a family of p-values, in their order; None stays None and does not count."""
    known = sorted((value, place) for place, value in enumerate(values) if _known(value))
    corrected: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (value, place) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * value))
        corrected[place] = highest
    return corrected


def _known(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)
