"""`dicom-router bench compare`: run the cases, print the tables, write the results."""

import logging
import shlex
import tempfile
from datetime import date
from pathlib import Path
from typing import Final

import click
import structlog
from rich.console import Console

from benchmarks import machine, report
from benchmarks.cases import CASES
from benchmarks.measuring import Absent, Curve, Reading, Series, series_of
from benchmarks.showing import show
from benchmarks.stage import Stage

RESULTS: Final = Path(__file__).parent / "results"


@click.command(
    name="dicom-router bench compare",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.option("--quick", is_flag=True, help="A few objects, one round, nothing written: to see that all of it runs.")
@click.option("--only", multiple=True, type=click.Choice(list(CASES)), help="This case; may be repeated.")
@click.option("--rounds", type=click.IntRange(1), help="How often each side is measured. [default: 5; quick: 1]")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False, exists=True), help="On the disk to measure.")
@click.option("--results", type=click.Path(path_type=Path, file_okay=False), help="Write the results here.")
def main(quick: bool, only: tuple[str, ...], rounds: int | None, folder: Path | None, results: Path | None) -> None:
    """Measure the router side by side with DCMTK, Orthanc, relays on pynetdicom and dcmjs-dimse, and a raw TCP relay,
    in turn in one run.

    A whole run is written to benchmarks/results, and shown in docs/performance.md and in the README.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    rounds = rounds or (1 if quick else 5)
    console = Console(width=150)
    with tempfile.TemporaryDirectory(prefix="dicom-router-bench-", dir=folder) as name:
        facts = machine.facts(Path(name))
        found = _measure(Path(name), only or tuple(CASES), rounds, quick, console)
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
    )
    for table in report.tables(run):
        console.print(table)
    for absent in run.absent:
        console.print(f"not measured: {absent.side}: {absent.why}")
    if results is not None:
        report.write(run, results)
    elif not quick and not only:
        show(run, report.write(run, RESULTS))


def _measure(
    folder: Path, cases: tuple[str, ...], rounds: int, quick: bool, console: Console
) -> list[Series | Curve | Absent]:
    found: list[Series | Curve | Absent] = []
    with console.status("") as status:
        for case in cases:

            def tell(words: str, case: str = case) -> None:
                status.update(f"{case}: {words}")

            tell("")
            all_of_it = list(CASES[case](Stage(folder=folder, rounds=rounds, quick=quick, tell=tell)))
            found += series_of(case, [one for one in all_of_it if isinstance(one, Reading)])
            found += [one for one in all_of_it if not isinstance(one, Reading)]
    return found


def _options(quick: bool, only: tuple[str, ...], rounds: int) -> list[str]:
    options = ["--quick"] if quick else []
    options += [word for case in only for word in ("--only", case)]
    return [*options, "--rounds", str(rounds)]


if __name__ == "__main__":
    main()
