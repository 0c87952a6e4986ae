"""OUT/report.md: claims, tables, figures, the paper's numbers beside ours, failures; and OUT/scores.csv."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from .. import __version__
from ..writing import write_text
from . import figures
from .claims import Finding, Judgement, judge, paper_difference
from .cohort import Pair
from .methods import METHODS
from .paper import PAPER, SOURCE, text
from .scoreboard import METRICS, Scoreboard, write_csv
from .store import Record, Store
from .tables import Table, latex, markdown, tables, write_table_csv

OF_PAPER = ("detection_rate", "dice_organs", "dice_lesions", "sd_jacobian", "disappearing_rate", "minutes")


def write_report(
    records: Sequence[Record], pairs: Sequence[Pair], store: Store, out: Path, notes: Sequence[str] = ()
) -> Path:
    """Everything that the records show, in OUT; `notes` are sentences on what was run and what was left out."""
    board = Scoreboard(records)
    write_csv(board, out / "scores.csv")
    made = tables(board)
    for table in made:
        _write_table(table, out / "tables")
    pictures = figures.write_figures(board, pairs, store, out / "figures")
    parts = [
        "# The experiment",
        *_run(board, pairs, notes),
        *_claims(judge(board)),
        *(part for table in made for part in (f"## {table.name}", markdown(table))),
        *_beside_paper(board),
        *_pictures(pictures),
        *_failures(board),
    ]
    return write_text(out / "report.md", "\n\n".join(part.rstrip("\n") for part in parts) + "\n")


def _write_table(table: Table, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = table.name.lower().replace(" ", "-")
    write_text(folder / f"{name}.md", markdown(table))
    write_text(folder / f"{name}.tex", latex(table))
    write_table_csv(table, folder / f"{name}.csv")


def _run(board: Scoreboard, pairs: Sequence[Pair], notes: Sequence[str]) -> Iterator[str]:
    """What was run, and on what."""
    centres = [pair.centre for pair in pairs if pair.centre]
    counts = ", ".join(f"{centres.count(centre)} of centre {centre}" for centre in sorted(set(centres)))
    infos = [record.info for record in board.records if record.done]
    lines = [f"mirrba {__version__}; {len(pairs)} pairs" + (f" ({counts})" if counts else "") + "."]
    lines.append(f"{len(board.methods)} methods, {len(infos)} of {len(board.records)} results.")
    if infos:
        hours = sum(info.get("seconds_own", info["seconds"]) for info in infos) / 3600
        cpus = sorted({str(info["cpu"]) for info in infos if info.get("cpu")})
        threads = sorted({info["threads"] for info in infos if "threads" in info})
        lines.append(f"{hours:.2f} hours of registration; threads for each: {' or '.join(map(str, threads))}.")
        lines.append(f"Processors: {'; '.join(cpus) or 'unknown'}.")
    yield "\n".join(f"- {line}" for line in [*lines, *notes])


def _claims(judgements: Sequence[Judgement]) -> Iterator[str]:
    yield "## The paper's claims"
    yield (
        "Decided by the paper's rule, p < 0.05 of the paired test, without correction; p after Holm's correction over "
        "the claim's differences is beside it. *Undecided*: in the claimed direction, at least in part, but nothing "
        "significant. Differences are the first method minus the second, over the pairs that both have."
    )
    yield "\n".join(f"{number}. {_sentence(j)}" for number, j in enumerate(judgements, 1))
    rows = [row for number, j in enumerate(judgements, 1) for row in _rows(number, j)]
    if rows:
        head = "| claim | | metric | difference | in the paper | n | test | p | Holm |"
        yield "\n".join([head, "|---:|---|---|---:|---:|---:|---|---:|---:|", *rows])


def _sentence(judgement: Judgement) -> str:
    """The claim, what became of it, and by how much."""
    claim, verdict = judgement.claim, judgement.verdict
    text = f"{claim.sentence} (Section {claim.section}.) **{verdict[0].upper()}{verdict[1:]}**: {judgement.reason}."
    amounts = "; ".join(_amount(finding) for finding in _main(judgement.findings))
    return f"{text} {amounts}." if amounts else text


def _main(findings: Sequence[Finding]) -> list[Finding]:
    """One for each two methods: the Dice of the lesions, where the claim is about it."""
    known = [finding for finding in findings if finding.comparison.difference is not None]
    about_lesions = [finding for finding in known if finding.expected.metric == "dice_lesions"]
    return about_lesions or known


def _amount(finding: Finding) -> str:
    expected, found = finding.expected, finding.comparison
    metric = METRICS[expected.metric]
    first, second = (f"{mean:.{metric.digits}f}" if mean is not None else "–" for mean in finding.means)
    difference = _signed(found.difference, metric.digits, metric.unit)
    p = "no test" if found.p is None else f"p {_p(found.p)}"
    return f"{metric.title}: {_title(expected.better)} {first}, {_title(expected.worse)} {second} ({difference}, {p})"


def _title(method: str) -> str:
    return METHODS[method].title if method in METHODS else method


def _rows(number: int, judgement: Judgement) -> Iterator[str]:
    for finding in judgement.findings:
        if finding.comparison.difference is not None:
            yield _row(number, finding)


def _row(number: int, finding: Finding) -> str:
    expected, found = finding.expected, finding.comparison
    metric = METRICS[expected.metric]
    paper = paper_difference(expected)
    cells = [
        str(number),
        f"{_title(expected.better)} − {_title(expected.worse)}",
        metric.title,
        _signed(found.difference, metric.digits, metric.unit) + ("" if finding.as_claimed else " ✗"),
        _signed(paper, metric.digits, metric.unit),
        str(found.n),
        found.test or "–",
        _p(found.p),
        _p(finding.holm_p),
    ]
    return "| " + " | ".join(cells) + " |"


def _signed(value: float | None, digits: int, unit: str) -> str:
    return "–" if value is None else f"{value:+.{digits}f} {unit}".strip()


def _p(p: float | None) -> str:
    if p is None:
        return "–"
    return "&lt;0.001" if p < 0.001 else f"{p:.3f}"


def _beside_paper(board: Scoreboard) -> Iterator[str]:
    """A line of ours and a line of theirs for every method that both have."""
    shown = [method for method in PAPER if method in board.methods]
    if not shown:
        return
    yield "## The paper's numbers beside ours"
    yield (
        f"{SOURCE}: 110 pairs of two centres, 200³ voxels, GPU for the networks; ours are other pairs on other "
        "machines, so only the order of the methods can be compared."
    )
    titles = [METRICS[name].title + (f" ({METRICS[name].unit})" if METRICS[name].unit else "") for name in OF_PAPER]
    lines = ["| | | " + " | ".join(titles) + " |", "|---|---|" + "---:|" * len(titles)]
    for method in shown:
        ours = [_mean(board, method, name) for name in OF_PAPER]
        theirs = [text(method, name) or "–" for name in OF_PAPER]
        lines.append(f"| {board.titles[method]} | ours | {' | '.join(ours)} |")
        lines.append(f"| | paper | {' | '.join(theirs)} |")
    yield "\n".join(lines)


def _mean(board: Scoreboard, method: str, metric: str) -> str:
    found, digits = board.summary(method, metric), METRICS[metric].digits
    if found.mean is None:
        return "–"
    mean = f"{found.mean:.{digits}f}" + ("" if found.sd is None else f" ± {found.sd:.{digits}f}")
    training = board.train_minutes(method) if metric == "minutes" else None
    return mean if training is None else f"{training:.1f} – {mean}"  # as the paper prints it


def _pictures(pictures: Sequence[tuple[str, str]]) -> Iterator[str]:
    if pictures:
        yield "## Figures"
    for name, caption in pictures:
        yield f"![{caption}](figures/{name})\n\n*{caption}*"


def _failures(board: Scoreboard) -> Iterator[str]:
    failed = board.failures_in_words()
    if failed:
        yield f"## Failures ({len(board.failures())})"
        yield "\n".join(f"- {sentence}" for sentence in failed)
