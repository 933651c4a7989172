"""Write the newest result between the markers of docs/performance.md and README.md; nothing else is changed."""

import re
from pathlib import Path
from typing import Final

from benchmarks.report import Run, aims_table, facts_line, markdown_table, number, plots_of

ROOT: Final = Path(__file__).parents[1]
PERFORMANCE: Final = Path("docs/performance.md")
README: Final = Path("README.md")


def update_pages(run: Run, folder: Path, root: Path = ROOT) -> None:
    """Write the result into docs/performance.md and README.md. `folder` is that of the result.

    Raises:
        ValueError: a page has no markers.
    """
    for page, lines in ((PERFORMANCE, _in_full(run, folder, root)), (README, _in_short(run, folder, root))):
        path = root / page
        path.write_text(between(path.read_text("utf-8"), "benchmark result", lines), "utf-8")


def between(text: str, name: str, lines: list[str]) -> str:
    """Return `text` with `lines` between the markers of that name."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    found = re.search(f"{re.escape(begin)}\n.*?{re.escape(end)}", text, re.DOTALL)
    if found is None:
        raise ValueError(f"marker {begin} with its end not found")
    return text[: found.start()] + "\n".join([begin, *lines, end]) + text[found.end() :]


def _in_full(run: Run, folder: Path, root: Path) -> list[str]:
    there = Path("..") / folder.relative_to(root)
    return [
        f"Measured on {run.date} at revision {run.revision} with `{run.command}`, {run.rounds} rounds: "
        f"[all figures]({there}/README.md).",
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
            f"{result.aim.work} ({result.aim.quantity})",
            result.aim.peer,
            number(result.router.median if result.router else None),
            number(result.peer.median if result.peer else None),
            f"{result.ratio:.1f}x",
        ]
        for result in run.aim_results
        if result.aim.peer and result.ratio is not None
    ]
    table = markdown_table(("work", "against", "router", "peer", "ratio"), rows)
    return [*table, "", f"{run.date}, {run.machine}; [all figures]({folder.relative_to(root)}/README.md)."]
