"""Summary, paired tests and Holm's correction against scipy and values worked by hand."""

import math

import numpy as np
import pytest
from mirrba.experiment.statistics import compare, holm, summary
from scipy import stats

NAN = float("nan")


def test_mean_and_sample_standard_deviation():
    found = summary([1.0, 2.0, None, 4.0, NAN])
    assert (found.n, found.mean) == (3, pytest.approx(7 / 3))
    assert found.sd == pytest.approx(math.sqrt(((4 / 3) ** 2 + (1 / 3) ** 2 + (5 / 3) ** 2) / 2))
    assert (summary([0.5]).n, summary([0.5]).sd) == (1, None)
    assert (summary([None, NAN]).n, summary([]).mean) == (0, None)


def test_paired_t_worked_by_hand():
    """Differences 1, 2, 3, 4, 5: mean 3, SD √2.5, t = 3 / √0.5 with 4 degrees of freedom."""
    found = compare([2.0, 4.0, 6.0, 8.0, 10.0], [1.0, 2.0, 3.0, 4.0, 5.0])
    assert (found.n, found.difference) == (5, 3)
    assert found.t_p == pytest.approx(2 * stats.t.sf(3 / math.sqrt(0.5), 4))
    assert found.normality_p == pytest.approx(stats.shapiro([1.0, 2, 3, 4, 5]).pvalue)
    assert found.wilcoxon_p is None
    assert (found.test, found.p) == ("t", found.t_p)


def test_wilcoxon_where_the_differences_are_not_normal():
    rng = np.random.default_rng(0)
    first = rng.exponential(1.0, 30) ** 3
    second = np.zeros(30)
    found = compare(list(first), list(second))
    assert found.normality_p < 0.05
    assert found.p == found.wilcoxon_p == pytest.approx(stats.wilcoxon(first, second).pvalue)
    assert found.t_p == pytest.approx(stats.ttest_rel(first, second).pvalue)
    assert found.test == "Wilcoxon"


def test_rounding_errors_break_no_tie_and_make_no_difference_of_none():
    differences = [0.0, 1 / 3, -1 / 3, 2 / 3, 0.0, 20.0, 1 / 3, 2 / 3]
    first = [0.1 * k + d for k, d in enumerate(differences)]
    second = [0.1 * k for k in range(len(differences))]
    rounded = np.subtract(first, second)
    assert np.count_nonzero(rounded) != np.count_nonzero(differences) or len(set(rounded)) != len(set(differences))
    assert compare(first, second).wilcoxon_p == pytest.approx(stats.wilcoxon(differences).pvalue, rel=1e-9)


def test_pairs_without_a_score_are_left_out_and_counted():
    first, second = [1.0, 3.0, None, 4.0, 9.0, NAN], [0.5, 1.0, 2.0, 3.5, None, 1.0]
    found = compare(first, second)
    assert found.n == 3
    assert found.t_p == pytest.approx(stats.ttest_rel([1.0, 3.0, 4.0], [0.5, 1.0, 3.5]).pvalue)


def test_too_little_to_test():
    assert compare([None], [1.0]).difference is None
    two = compare([1.0, 2.0], [0.0, 0.0])
    assert (two.n, two.difference, two.p, two.test) == (2, 1.5, None, None)
    assert compare([0.0] * 4, [0.0] * 4).p == 1
    assert compare([1.0] * 4, [0.0] * 4).p is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # the example of R's p.adjust
        ([0.9, 0.8], [1.0, 1.0]),
        ([0.02, None, 0.01], [0.02, None, 0.02]),
        ([], []),
    ],
)
def test_holm(values, expected):
    assert holm(values) == pytest.approx(expected)
