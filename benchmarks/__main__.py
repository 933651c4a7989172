"""`dicom-router bench compare`: run the cases, print tables, write the results."""

import logging
import shlex
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Final

import click
import structlog
from attrs import evolve
from rich.console import Console

from benchmarks import machine, report
from benchmarks.cases import CASES
from benchmarks.pages import update_pages
from benchmarks.readings import Absent, Curve, Failed, Reading, Series, series_of
from benchmarks.workspace import Workspace

Finding = Series | Curve | Absent | Failed

RESULTS: Final = Path(__file__).parent / "results"


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.option("--quick", is_flag=True, help="Check that everything runs: a few objects, one round, nothing written.")
@click.option("--only", multiple=True, type=click.Choice(list(CASES)), help="Run this case only; may be repeated.")
@click.option(
    "--rounds", type=click.IntRange(1), help="Number of times to measure each side. [default: 3; with --quick 1]"
)
@click.option(
    "--backlog", type=click.IntRange(0), default=1_000_000, show_default=True, help="Most deliveries to make wait."
)
@click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False, exists=True), help="Folder on the disk to measure."
)
@click.option("--results", type=click.Path(path_type=Path, file_okay=False), help="Folder to write the results to.")
def main(
    quick: bool, only: tuple[str, ...], rounds: int | None, backlog: int, folder: Path | None, results: Path | None
) -> None:
    """Compare the router with DCMTK, Orthanc, relays on pynetdicom and dcmjs-dimse, and a raw TCP relay.

    All sides are measured in turn in one run. A complete run is written to benchmarks/results, and to
    docs/performance.md and README.md.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    rounds = rounds or (1 if quick else 3)
    console = Console(width=150)
    with tempfile.TemporaryDirectory(prefix="dicom-router-bench-", dir=folder) as name:
        facts = machine.facts(Path(name))
        workspace = Workspace(folder=Path(name), rounds=rounds, quick=quick, tell=lambda text: None, backlog=backlog)
        found = _measure(workspace, only or tuple(CASES), console)
    run = report.Run(
        date=date.today().isoformat(),
        command=shlex.join(["dicom-router", "bench", "compare", *_options(quick, only, rounds)]),
        revision=machine.revision(),
        machine=machine.name(),
        rounds=rounds,
        facts=facts,
        series=tuple(one for one in found if isinstance(one, Series)),
        curves=tuple(one for one in found if isinstance(one, Curve)),
        absent=tuple(one for one in found if isinstance(one, Absent)),
        failed=tuple(one for one in found if isinstance(one, Failed)),
    )
    for table in report.tables(run):
        console.print(table)
    for absent in run.absent:
        console.print(f"not measured: {absent.side}: {absent.why}")
    if results is not None:
        report.write(run, results)
    elif not quick and not only:
        folder = report.write(run, RESULTS)
        if not run.failed:
            update_pages(run, folder)
    if run.failed:
        raise click.ClickException("cases failed, and their figures are incomplete: " + ", ".join(_names(run)))


def _names(run: report.Run) -> list[str]:
    return [one.case for one in run.failed]


def _measure(workspace: Workspace, cases: tuple[str, ...], console: Console) -> list[Finding]:
    found: list[Finding] = []
    with console.status("") as status:
        for case in cases:

            def tell(text: str, case: str = case) -> None:
                status.update(f"{case}: {text}")

            tell("")
            started = time.monotonic()
            readings: list[Reading] = []
            try:
                for one in CASES[case](evolve(workspace, tell=tell)):
                    readings += [one] if isinstance(one, Reading) else []
                    found += [] if isinstance(one, Reading) else [one]
            except Exception as error:  # one failed case must not lose the results of the others
                console.print_exception()
                found.append(Failed(case=case, why=f"{type(error).__name__}: {error}"))
            found += series_of(case, readings)
            console.print(f"{case}: {time.monotonic() - started:.0f} s")
    return found


def _options(quick: bool, only: tuple[str, ...], rounds: int) -> list[str]:
    options = ["--quick"] if quick else []
    options += [word for case in only for word in ("--only", case)]
    return [*options, "--rounds", str(rounds)]


if __name__ == "__main__":
    main(prog_name="dicom-router bench compare")
