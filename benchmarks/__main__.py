"""`python -m benchmarks`: run the cases, print the table, write the results."""

import logging
import shlex
import tempfile
from datetime import date
from pathlib import Path

import click
import structlog
from rich.console import Console

from benchmarks import machine, report
from benchmarks.cases import CASES
from benchmarks.measuring import Series, series_of
from benchmarks.stage import Stage
from tests.interop.programs import installed

RESULTS = Path(__file__).parent / "results"


@click.command(help="Measure the router side by side with DCMTK's storescp and a relay on pynetdicom.")
@click.option("--quick", is_flag=True, help="A tenth of the objects, two rounds, nothing written.")
@click.option("--only", multiple=True, type=click.Choice(list(CASES)), help="This case; may be repeated.")
@click.option("--rounds", type=click.IntRange(1), help="How often each side is measured. [default: 5; quick: 2]")
@click.option("--results", type=click.Path(path_type=Path, file_okay=False), help="Write the results here.")
def main(quick: bool, only: tuple[str, ...], rounds: int | None, results: Path | None) -> None:
    """Run what is asked for."""
    if installed("storescp") is None:
        raise click.ClickException("DCMTK is not installed (make peers)")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    console = Console(width=140)
    series: list[Series] = []
    with tempfile.TemporaryDirectory() as name, console.status("") as status:
        for case in only or CASES:
            stage = Stage(
                folder=Path(name),
                rounds=rounds or (2 if quick else 5),
                quick=quick,
                tell=lambda words, case=case: status.update(f"{case}: {words}"),  # type: ignore[misc]
            )
            status.update(case)
            series += series_of(case, CASES[case](stage))
    console.print(report.table(series))
    if results is None and quick:
        return
    run = report.Run(
        date=date.today().isoformat(),
        command=shlex.join(["python", "-m", "benchmarks", *_options(quick, only, rounds)]),
        revision=machine.revision(),
        machine=machine.name(),
        facts=machine.facts(),
        series=tuple(series),
    )
    report.write(run, results or RESULTS)


def _options(quick: bool, only: tuple[str, ...], rounds: int | None) -> list[str]:
    options = ["--quick"] if quick else []
    options += [word for case in only for word in ("--only", case)]
    return [*options, "--rounds", str(rounds)] if rounds else options


if __name__ == "__main__":
    main()
