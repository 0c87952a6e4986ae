"""The paper's claims as comparisons of two methods by a metric, decided from the scores of a study."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .methods import METHODS
from .paper import mean
from .scoreboard import METRICS, Scoreboard
from .statistics import FEWEST, SIGNIFICANT, Comparison, holm

ACCURACY = ("detection_rate", "dice_organs", "dice_lesions")
DICE = ("dice_organs", "dice_lesions")
BEST = "mirrba-depth-4-max-up"

REPRODUCED = "reproduced"
IN_PART = "reproduced in part"
UNDECIDED = "undecided"
NOT_REPRODUCED = "not reproduced"
NOT_TESTED = "not tested"


@dataclass(frozen=True)
class Expected:
    """The first method is better than the second by this metric; for SDJDet, lower is what the claim calls better."""

    better: str
    worse: str
    metric: str


@dataclass(frozen=True)
class Claim:
    sentence: str
    section: str
    expected: tuple[Expected, ...]


@dataclass(frozen=True)
class Finding:
    """What became of one expected difference."""

    expected: Expected
    comparison: Comparison
    means: tuple[float | None, float | None]
    """Of the better and of the worse, over the pairs that each has."""
    holm_p: float | None
    """Corrected over the claim's differences."""

    @property
    def as_claimed(self) -> bool:
        difference = self.comparison.difference
        higher = METRICS[self.expected.metric].better == "higher"
        return difference is not None and (difference > 0 if higher else difference < 0)

    @property
    def significant(self) -> bool:
        return self.comparison.p is not None and self.comparison.p < SIGNIFICANT


@dataclass(frozen=True)
class Judgement:
    claim: Claim
    verdict: str
    reason: str
    findings: tuple[Finding, ...]


def _expect(better: str, worse: Iterable[str], metrics: Iterable[str]) -> tuple[Expected, ...]:
    return tuple(Expected(better, other, metric) for other in worse for metric in metrics)


CLAIMS = (
    Claim(
        "The architecture regularises: without it (wo Archi) the registration is less accurate and rougher.",
        "5.1, Table 2",
        _expect("mirrba", ["mirrba-wo-archi"], [*ACCURACY, "sd_jacobian"]),
    ),
    Claim(
        "The registration terms smooth the field (wo Regu is rougher).",
        "5.1, Table 2",
        _expect("mirrba", ["mirrba-wo-regu"], ["sd_jacobian"]),
    ),
    Claim(
        "Depth helps: each level more of the pyramid is more accurate.",
        "5.2, Table 2",
        _expect("mirrba-depth-2", ["mirrba-depth-1"], ACCURACY)
        + _expect("mirrba", ["mirrba-depth-2"], ACCURACY)
        + _expect("mirrba-depth-4", ["mirrba"], ACCURACY),
    ),
    Claim(
        "Coarse to fine: each level trained refines the registration.",
        "5.2, Table 2",
        _expect("mirrba-level-2", ["mirrba-level-1"], ACCURACY) + _expect("mirrba", ["mirrba-level-2"], ACCURACY),
    ),
    Claim(
        "Residual blocks are essential: without their connections (wo RB) it fails.",
        "5.2",
        _expect("mirrba", ["mirrba-wo-rb"], [*ACCURACY, "sd_jacobian"]),
    ),
    Claim(
        "Max-pooling and up-sampling help.",
        "5.2, Table 2",
        _expect("mirrba-max", ["mirrba"], DICE) + _expect("mirrba-up", ["mirrba"], DICE),
    ),
    Claim(
        "Deformable convolutions lower the Dice scores.",
        "5.2, Table 2",
        _expect("mirrba", ["mirrba-def-conv"], DICE),
    ),
    Claim(
        "The best practices together (Depth 4 Max Up) are more accurate than MIRRBA.",
        "5.2, Table 2",
        _expect(BEST, ["mirrba"], ACCURACY),
    ),
    Claim(
        "MIRRBA is more accurate and smoother than networks trained on a cohort.",
        "5.3, Table 1",
        _expect("mirrba", ["dl-lapirn", "dl-voxelmorph"], [*ACCURACY, "sd_jacobian"]),
    ),
    Claim(
        "SyNCC is more accurate than MIRRBA on organs and lesions.",
        "5.3, Table 1",
        _expect("syncc", ["mirrba"], ACCURACY),
    ),
    Claim(
        "Combined is more accurate than SyNCC and than Depth 4 Max Up alone.",
        "5.3, Table 1",
        _expect("combined", ["syncc", BEST], ACCURACY),
    ),
    Claim(
        "MIRRBA lets lesions disappear better than SyN and SyNCC.",
        "5.3, Table 1",
        _expect("mirrba", ["syn", "syncc"], ["disappearing_rate"]),
    ),
    Claim(
        "Combined lets lesions disappear better than SyNCC and than Depth 4 Max Up alone.",
        "5.3, Table 1",
        _expect("combined", ["syncc", BEST], ["disappearing_rate"]),
    ),
)


def judge(board: Scoreboard) -> list[Judgement]:
    return [judged(claim, board) for claim in CLAIMS]


def judged(claim: Claim, board: Scoreboard) -> Judgement:
    """By the paper's own rule, p < 0.05 without a correction; Holm's p is told beside it."""
    comparisons = [board.compare(e.better, e.worse, e.metric) for e in claim.expected]
    corrected = holm([comparison.p for comparison in comparisons])
    findings = tuple(
        Finding(e, c, (board.summary(e.better, e.metric).mean, board.summary(e.worse, e.metric).mean), p)
        for e, c, p in zip(claim.expected, comparisons, corrected, strict=True)
    )
    if missing := _missing(claim, board):
        # What could be compared is shown, but the claim is about all of it.
        return Judgement(claim, NOT_TESTED, missing, findings)
    return Judgement(claim, *_verdict(findings), findings)


def _missing(claim: Claim, board: Scoreboard) -> str | None:
    names = list(dict.fromkeys(name for e in claim.expected for name in (e.better, e.worse)))
    reasons = []
    for name in names:
        if name not in board.methods:
            reasons.append(f"{METHODS[name].title if name in METHODS else name} was not run")
        elif board.done(name) == 0:
            reasons.append(f"{board.titles[name]} failed on every pair")
    return "; ".join(reasons) or None


def _verdict(findings: tuple[Finding, ...]) -> tuple[str, str]:
    tested = [finding for finding in findings if finding.comparison.p is not None]
    if not tested:
        n = max(finding.comparison.n for finding in findings)
        return NOT_TESTED, f"{n} pairs are too few for a test, or have no spread; it takes {FEWEST}"
    shown = sum(finding.significant and finding.as_claimed for finding in tested)
    against = sum(finding.significant and not finding.as_claimed for finding in tested)
    reason = f"{shown} of {len(findings)} differences as claimed with p < {SIGNIFICANT:g}"
    if against:
        reason += f", {against} the other way with p < {SIGNIFICANT:g}"
    if shown == len(findings):
        return REPRODUCED, reason
    if shown:
        return IN_PART, reason
    if against or not any(finding.as_claimed for finding in findings):
        return NOT_REPRODUCED, reason
    return UNDECIDED, reason


def paper_difference(expected: Expected) -> float | None:
    """The better minus the worse in the paper, in the metric's unit."""
    better, worse = mean(expected.better, expected.metric), mean(expected.worse, expected.metric)
    return None if better is None or worse is None else better - worse
