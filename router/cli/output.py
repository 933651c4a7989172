"""What commands print on standard output: tables for people, JSON for machines.

What came from a peer may hold anything: it is shown without control characters and never taken for markup.
"""

import json
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

_NO_TERMINAL_WIDTH: Final = 4096
"""Columns where no terminal sets them: nothing is wrapped in a file or a pipe."""


json_option: Final = click.option("--json", "as_json", is_flag=True, help="For machines.")
"""Of every command that shows something."""


def console() -> Console:
    """Standard output, as a place for tables and progress."""
    width = None if sys.stdout.isatty() else _NO_TERMINAL_WIDTH
    return Console(file=sys.stdout, width=width, markup=False, highlight=False, emoji=False)


def say(words: str) -> None:
    """One line of words on standard output."""
    click.echo(printable(words))


def say_json(value: Any) -> None:
    """One JSON value on standard output."""
    click.echo(json.dumps(value, indent=2, default=str))


def say_table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
    """A table; numbers stand to the right."""
    table = Table(box=SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    cells = [list(row) for row in rows]
    for index, heading in enumerate(headings):
        numeric = any(isinstance(row[index], int | float) for row in cells)
        table.add_column(heading, justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        table.add_row(*(printable(str(cell)) for cell in row))
    console().print(table)


def printable(text: str) -> str:
    """The text with every control character escaped; line feeds stay."""
    return "".join(sign if sign.isprintable() or sign == "\n" else repr(sign)[1:-1] for sign in text)


def count(number: int, one: str, many: str = "") -> str:
    """ "1 file", "2 files"."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def size(number: float) -> str:
    """Bytes for people: "12.3 MB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def moment(epoch: float) -> str:
    """A time of day, as the people here count it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(epoch))
