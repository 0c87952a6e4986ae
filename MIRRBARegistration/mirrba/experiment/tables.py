"""Tables 1 and 2 in the paper's form, as Markdown, CSV and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .scoreboard import METRICS, Metric, Scoreboard, write_rows
from .statistics import SIGNIFICANT, Comparison, Summary, holm

REFERENCE = "mirrba"  # the paper compares every method with it, not with its best form

TABLE_1 = (
    "identity",
    REFERENCE,
    "dl-lapirn",
    "dl-voxelmorph",
    "elastix",
    "syn",
    "syncc",
    "syncc-full",
    "greedy",
    "convexadam",
    "combined",
    "combined-greedy",
    "default",
    "fast",
)
TABLE_2 = (
    "identity",
    REFERENCE,
    "mirrba-wo-regu",
    "mirrba-wo-archi",
    "mirrba-wo-rb",
    "mirrba-depth-1",
    "mirrba-depth-2",
    "mirrba-depth-4",
    "mirrba-level-1",
    "mirrba-level-2",
    "mirrba-max",
    "mirrba-up",
    "mirrba-def-conv",
    "mirrba-depth-4-max-up",
)
TABLE_S1 = ("identity", "elastix-level-1", "elastix-level-2", "elastix-level-3", "elastix")


@dataclass(frozen=True)
class Cell:
    metric: Metric
    summary: Summary
    comparison: Comparison | None
    """With the reference; None for the reference itself."""
    holm_p: float | None
    """Corrected over the methods of the table."""
    rank: int | None
    """1 best, 2 second, by the mean; None for the others and where no ideal value is defined."""


@dataclass(frozen=True)
class Line:
    method: str
    title: str
    done: int
    total: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    name: str
    caption: str
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    """A footnote for what failed."""
    training: str | None = None
    """A footnote on what the times leave out."""


def tables(board: Scoreboard) -> list[Table]:
    """Tables 1, 2 and, where Elastix' levels were run, S1. Methods that none of them names are in the first."""
    named = {*TABLE_1, *TABLE_2, *TABLE_S1}
    others = [method for method in board.methods if method not in named]
    made = [
        table(board, "Table 1", "Comparison to reference methods", [*TABLE_1, *others]),
        table(board, "Table 2", "Ablation study", TABLE_2),
    ]
    if any(method in board.methods for method in TABLE_S1[1:-1]):
        made.append(table(board, "Table S1", "Levels of Elastix", TABLE_S1))
    return [one for one in made if one.lines]


def table(board: Scoreboard, name: str, caption: str, methods: Sequence[str]) -> Table:
    """Of those methods that were asked for; one that never succeeded keeps its line, empty."""
    shown = [method for method in methods if method in board.methods]
    columns = [_column(board, shown, metric) for metric in METRICS.values()]
    lines = [
        Line(method, board.titles[method], board.done(method), len(board.pairs), tuple(c[i] for c in columns))
        for i, method in enumerate(shown)
    ]
    return Table(name, caption, tuple(lines), tuple(board.failures_in_words(shown)), _training(board, shown))


def _training(board: Scoreboard, methods: Sequence[str]) -> str | None:
    known = {board.titles[m]: minutes for m in methods if (minutes := board.train_minutes(m)) is not None}
    if not known:
        return None
    times = ", ".join(f"{title} {minutes:.1f} min" for title, minutes in known.items())
    return f"Training before the computing time shown, for each pair's network: {times}."


def _column(board: Scoreboard, methods: Sequence[str], metric: Metric) -> list[Cell]:
    summaries = [board.summary(method, metric.name) for method in methods]
    tested = REFERENCE in board.methods
    comparisons = [
        board.compare(method, REFERENCE, metric.name) if tested and method != REFERENCE else None for method in methods
    ]
    corrected = holm([None if comparison is None else comparison.p for comparison in comparisons])
    ranks = _ranks(methods, summaries, metric)
    return [Cell(metric, *parts) for parts in zip(summaries, comparisons, corrected, ranks, strict=True)]


def _ranks(methods: Sequence[str], summaries: Sequence[Summary], metric: Metric) -> list[int | None]:
    """By the mean as it is printed: what reads the same ranks the same."""
    means = [None if found.mean is None else round(found.mean, metric.digits) for found in summaries]
    if metric.trivial:
        means = [None if method == "identity" else mean for method, mean in zip(methods, means, strict=True)]
    ordered = sorted({mean for mean in means if mean is not None}, reverse=metric.better == "higher")
    if metric.better is None:
        ordered = []
    return [ordered.index(mean) + 1 if mean is not None and mean in ordered[:2] else None for mean in means]


LEGEND = (
    "Mean ± SD over the pairs. `*`: differs from MIRRBA with p < 0.05, in either direction; paired t-test, or "
    "Wilcoxon's signed ranks where Shapiro–Wilk rejects that the differences are normal. In brackets: p after Holm's "
    "correction over the table's methods. Best in bold, second in bold italic, except for SDJDet, for which no ideal "
    "value is defined; Identity is not ranked for time and folding. "
    "n: pairs that have a result, of all; where a cell has fewer, its own n follows."
)


def _text(cell: Cell, done: int) -> str:
    """0.918 ± 0.126 * (0.012)"""
    if cell.summary.mean is None:
        return "–"
    digits = cell.metric.digits
    text = f"{cell.summary.mean:.{digits}f}"
    if cell.summary.sd is not None:
        text += f" ± {cell.summary.sd:.{digits}f}"
    if starred(cell):
        text += " *"
    if cell.holm_p is not None:
        text += f" ({_p(cell.holm_p)})"
    if cell.summary.n < done:
        text += f" n={cell.summary.n}"
    return text


def starred(cell: Cell) -> bool:
    p = None if cell.comparison is None else cell.comparison.p
    return p is not None and p < SIGNIFICANT


def _p(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _heads() -> list[str]:
    arrows = {"higher": " ↑", "lower": " ↓", None: " ↓"}  # SDJDet: small values are sought, no ideal is defined
    return [m.title + (f" ({m.unit})" if m.unit else "") + arrows[m.better] for m in METRICS.values()]


def markdown(table: Table) -> str:
    head = ["", "n", *_heads()]
    rows = [
        [line.title, f"{line.done}/{line.total}", *(_marked(cell, line.done) for cell in line.cells)]
        for line in table.lines
    ]
    lines = [f"**{table.name}.** {table.caption}. {LEGEND}", ""]
    lines += [_pipes(head), _pipes(["---", *["---:"] * (len(head) - 1)]), *map(_pipes, rows)]
    if table.training:
        lines += ["", table.training]
    if table.notes:
        lines += ["", "Failed:", "", *(f"- {note}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def _pipes(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _marked(cell: Cell, done: int) -> str:
    text = _text(cell, done).replace(" *", " \\*").replace("<", "&lt;")
    marks = {1: "**", 2: "***"}.get(cell.rank or 0, "")
    return f"{marks}{text}{marks}"


def latex(table: Table) -> str:
    """Needs the package booktabs, and resizebox' graphicx for its width."""
    heads = [_escaped(head).replace("↑", r"$\uparrow$").replace("↓", r"$\downarrow$") for head in _heads()]
    rows = [
        " & ".join([_escaped(line.title), f"{line.done}/{line.total}", *(_set(cell, line.done) for cell in line.cells)])
        for line in table.lines
    ]
    footnotes = [*([table.training] if table.training else []), *table.notes]
    notes = [r"\par\footnotesize " + _escaped(note) for note in footnotes]
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{_escaped(table.caption)}. {_escaped(LEGEND)}}}",
            r"\resizebox{\textwidth}{!}{%",
            rf"\begin{{tabular}}{{l{'r' * (len(heads) + 1)}}}",
            r"\toprule",
            " & ".join(["", "n", *heads]) + r" \\",
            r"\midrule",
            *(row + r" \\" for row in rows),
            r"\bottomrule",
            r"\end{tabular}}",
            *notes,
            r"\end{table}",
            "",
        ]
    )


def _set(cell: Cell, done: int) -> str:
    text = _escaped(_text(cell, done))
    if cell.rank == 1:
        return rf"\textbf{{{text}}}"
    return rf"\textbf{{\textit{{{text}}}}}" if cell.rank == 2 else text


def _escaped(text: str) -> str:
    """Plain text for LaTeX."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "`": ""}
    special |= {char: f"\\{char}" for char in "&%$#_{}"}
    special |= {"<": "$<$", ">": "$>$", "±": r"$\pm$", "–": "--", "×": r"$\times$"}
    return "".join(special.get(char, char) for char in text)


def write_table_csv(table: Table, path: Path) -> None:
    """A line per method and metric, the numbers unrounded."""
    rows = [_numbers(line, cell) for line in table.lines for cell in line.cells]
    columns = ["method", "title", "metric", "unit", "n", "mean", "sd", "rank", "difference_to_mirrba", "compared_pairs"]
    write_rows(path, rows, [*columns, "shapiro_p", "t_p", "wilcoxon_p", "test", "p", "holm_p"])


def _numbers(line: Line, cell: Cell) -> dict[str, Any]:
    found = cell.comparison
    row = {
        "method": line.method,
        "title": line.title,
        "metric": cell.metric.name,
        "unit": cell.metric.unit,
        "n": cell.summary.n,
        "mean": cell.summary.mean,
        "sd": cell.summary.sd,
        "rank": cell.rank,
        "holm_p": cell.holm_p,
    }
    if found is None:
        return row
    return row | {
        "difference_to_mirrba": found.difference,
        "compared_pairs": found.n,
        "shapiro_p": found.normality_p,
        "t_p": found.t_p,
        "wilcoxon_p": found.wilcoxon_p,
        "test": found.test,
        "p": found.p,
    }
