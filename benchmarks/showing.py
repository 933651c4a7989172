"""The newest result in the pages that quote it: what stands between two markers is written anew, nothing else is."""

import re
from pathlib import Path
from typing import Final

from benchmarks.report import Run, aims_table, facts_line, markdown_table, number, plots_of

ROOT: Final = Path(__file__).parents[1]
PERFORMANCE: Final = Path("docs/performance.md")
README: Final = Path("README.md")


def show(run: Run, folder: Path, root: Path = ROOT) -> None:
    """Write the result into docs/performance.md and README.md. `folder` is where the result is kept.

    Raises:
        ValueError: a page has no markers.
    """
    for page, lines in ((PERFORMANCE, _in_full(run, folder, root)), (README, _in_short(run, folder, root))):
        path = root / page
        path.write_text(between(path.read_text("utf-8"), "benchmark result", lines), "utf-8")


def between(text: str, name: str, lines: list[str]) -> str:
    """`text` with `lines` between the markers of that name."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    found = re.search(f"{re.escape(begin)}\n.*?{re.escape(end)}", text, re.DOTALL)
    if found is None:
        raise ValueError(f"there is no {begin} with its end behind it")
    return text[: found.start()] + "\n".join([begin, *lines, end]) + text[found.end() :]


def _in_full(run: Run, folder: Path, root: Path) -> list[str]:
    there = Path("..") / folder.relative_to(root)
    return [
        f"Measured on {run.date} at revision {run.revision} with `{run.command}`, {run.rounds} rounds: "
        f"[all of it]({there}/README.md).",
        "",
        facts_line(run),
        "",
        *aims_table(run),
        "",
        *[line for name in plots_of(run) for line in (f"![{name}]({there}/{name}.svg)", "")],
    ]


def _in_short(run: Run, folder: Path, root: Path) -> list[str]:
    rows = [
        [
            f"{verdict.aim.work} ({verdict.aim.quantity})",
            verdict.aim.peer,
            number(verdict.router),
            number(verdict.peer),
            f"{verdict.ratio:.1f}x",
        ]
        for verdict in run.verdicts
        if verdict.aim.peer and verdict.ratio is not None
    ]
    table = markdown_table(("work", "against", "router", "peer", "ratio"), rows)
    return [*table, "", f"{run.date}, {run.machine}; [all of it]({folder.relative_to(root)}/README.md)."]
