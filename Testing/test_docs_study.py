"""The numbers of docs/results.md are those of docs/study/scores.csv, recomputed here with numpy and scipy alone.

python Testing/test_docs_study.py prints the table of our own presets, to be pasted.
"""

import csv
import statistics
from pathlib import Path

import pytest
from scipy import stats

DOCS = Path(__file__).parents[1] / "docs"
STUDY = DOCS / "study"
TABLES = ("table-1", "table-2", "table-s1")
REFERENCE = "mirrba"


def rows(name: str) -> list[dict[str, str]]:
    with (STUDY / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


WORDS = ("pair", "centre", "method", "title", "status", "key", "message")
Scores = dict[str, dict[str, dict[str, float]]]


def read_scores() -> Scores:
    """By method, metric and pair; what could not be computed is left out."""
    found: Scores = {}
    for row in rows("scores.csv"):
        for metric, value in row.items():
            if row["status"] == "done" and metric not in WORDS and value:
                found.setdefault(row["method"], {}).setdefault(metric, {})[row["pair"]] = float(value)
    return found


@pytest.fixture(scope="module")
def scores() -> Scores:
    return read_scores()


@pytest.mark.parametrize("table", TABLES)
def test_means_and_deviations_are_those_of_the_scores(table, scores):
    for row in rows(f"tables/{table}.csv"):
        values = list(scores[row["method"]].get(row["metric"], {}).values())
        assert len(values) == int(row["n"])
        assert float(row["mean"]) == pytest.approx(statistics.mean(values), rel=1e-6, abs=1e-9)
        assert float(row["sd"]) == pytest.approx(statistics.stdev(values), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("table", TABLES)
def test_p_values_are_those_of_scipy(table, scores):
    tested = 0
    for row in rows(f"tables/{table}.csv"):
        if not row["p"] or row["method"] == REFERENCE:
            continue
        ours, theirs = scores[row["method"]][row["metric"]], scores[REFERENCE][row["metric"]]
        both = sorted(set(ours) & set(theirs))
        differences = [round(ours[pair] - theirs[pair], 8) for pair in both]  # equal ones tie
        assert len(both) == int(row["compared_pairs"])
        if not any(differences):  # no test can be made of them: no folding anywhere
            assert float(row["p"]) == 1
            continue
        test = stats.ttest_1samp(differences, 0) if row["test"] == "t" else stats.wilcoxon(differences)
        assert float(row["p"]) == pytest.approx(test.pvalue, rel=1e-3, abs=1e-6), (row, differences)
        tested += 1
    assert tested > 10


@pytest.mark.parametrize("table", TABLES)
def test_the_page_shows_the_table_as_it_was_made(table):
    assert (STUDY / "tables" / f"{table}.md").read_text(encoding="utf-8").strip() in (
        (DOCS / "results.md").read_text(encoding="utf-8")
    )


def test_every_method_has_run_on_every_pair():
    done = {(row["method"], row["pair"]) for row in rows("scores.csv") if row["status"] == "done"}
    methods, pairs = ({entry[k] for entry in done} for k in (0, 1))
    assert len(methods) > 20
    assert len(pairs) >= 6
    assert done == {(method, pair) for method in methods for pair in pairs}


OURS = ("default", "fast")
PEERS = {"greedy": "greedy", "syncc": "SyNCC", "elastix": "Elastix"}
SHOWN = {
    "detection_rate": "{:+.1f}",
    "dice_organs": "{:+.3f}",
    "dice_lesions": "{:+.3f}",
    "disappearing_rate": "{:+.1f}",
    "tre_mm": "{:+.2f}",
    "tre_body_mm": "{:+.2f}",
    "sd_jacobian": "{:+.3f}",
}


def against_peers(scores: Scores) -> list[str]:
    """A line for each of our presets and peers: mean differences (of rates: percentage points), bold where p < 0.05."""
    lines = []
    for ours in OURS:
        for peer, title in PEERS.items():
            cells = [difference(scores[ours][metric], scores[peer][metric], form) for metric, form in SHOWN.items()]
            lines.append(f"| `{ours}` − {title} | " + " | ".join(cells) + " |")
    return lines


def difference(ours: dict[str, float], theirs: dict[str, float], form: str) -> str:
    found = [round(ours[pair] - theirs[pair], 8) for pair in sorted(set(ours) & set(theirs))]
    normal = stats.shapiro(found).pvalue >= 0.05
    p = stats.ttest_1samp(found, 0).pvalue if normal else stats.wilcoxon(found).pvalue
    text = form.format(statistics.mean(found)).replace("-", "−")
    return f"**{text}**" if p < 0.05 else text


def test_the_page_compares_our_presets_with_the_peers_as_the_scores_have_it(scores):
    page = (DOCS / "results.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in against_peers(scores) if line not in page] == []


if __name__ == "__main__":
    print(*against_peers(read_scores()), sep="\n")
