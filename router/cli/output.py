"""Print the results of commands on standard output: lines, tables, JSON.

Text from a peer may contain anything: control characters are escaped, and markup is not interpreted.
"""

import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest
from typing import Any, Final

import click
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

_NO_TERMINAL_WIDTH: Final = 100
"""Columns of a file or a pipe, if COLUMNS is not set."""
_LEAST_WIDTH: Final = 20
_GAP: Final = "  "
"""Space between two columns of a table."""
_WHOLE_WORD: Final = 64
"""Longest word that is kept whole while another column can become narrower: the length of a UID (PS3.5 9.1)."""


json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
"""The option of every command that shows something."""


def console() -> Console:
    """Return a console on standard output, as wide as COLUMNS, else as its terminal, else 100 columns."""
    columns, elsewhere = os.environ.get("COLUMNS", ""), None if sys.stdout.isatty() else _NO_TERMINAL_WIDTH
    width = max(int(columns), _LEAST_WIDTH) if columns.isdecimal() else elsewhere
    return Console(file=sys.stdout, width=width, markup=False, highlight=False, emoji=False)


def print_line(text: str) -> None:
    """Print a line of text."""
    click.echo(printable(text))


def print_json(value: Any) -> None:
    """Print one JSON value."""
    click.echo(json.dumps(value, indent=2, default=str))


def print_table(
    headings: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "", below: Sequence[str] = ()
) -> None:
    """Print a table that fits the console: long cells are wrapped in their column, numbers are right-aligned.

    `below` has a text for each row to print under it, such as a UID or a reason, which needs the whole width.
    """
    out, cells = console(), [list(row) for row in rows]
    texts = [[printable(str(cell)) for cell in row] for row in cells]
    columns = list(zip(headings, *texts, strict=True))
    wanted = [max(map(_longest_line, column)) for column in columns]
    least = [min(_WHOLE_WORD, max(map(_longest_word, column))) for column in columns]
    widths = fit(wanted, least, out.width - len(_GAP) * (len(columns) - 1))
    numeric = [any(isinstance(row[index], int | float) for row in cells) for index in range(len(columns))]
    lines = [_lines(row, widths, numeric) for row in (headings, *texts)]
    rule = ("-" if out.options.ascii_only else "─") * min(out.width, max(map(len, chain(*lines))))
    if title:
        print_line(title)
    out.print("\n".join(lines[0]), style="bold", soft_wrap=True)
    out.print(rule, soft_wrap=True)
    for row, note in zip_longest(lines[1:], below, fillvalue=""):
        indented = [f"{_GAP}{line}" for line in _wrapped(printable(note), out.width - len(_GAP))] if note else []
        out.print("\n".join([*row, *indented]), soft_wrap=True)
    out.print()


def fit(wanted: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Return the widths of a table's columns, `room` in total if that leaves each at least one character.

    The widest column is reduced first: each column down to its `least`, and only then further.
    """
    widths = list(wanted)
    while sum(widths) > room and max(widths) > 1:
        above = [index for index, width in enumerate(widths) if width > max(1, least[index])]
        widths[max(above or range(len(widths)), key=widths.__getitem__)] -= 1
    return widths


def _lines(row: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> list[str]:
    """Return the lines of one row, each cell wrapped in its column."""
    columns = [_wrapped(text, width) for text, width in zip(row, widths, strict=True)]
    return [
        _GAP.join(
            _padded(part, width, right) for part, width, right in zip(parts, widths, numeric, strict=True)
        ).rstrip()
        for parts in zip_longest(*columns, fillvalue="")
    ]


def _wrapped(text: str, width: int) -> list[str]:
    if cell_len(text) <= width and "\n" not in text:
        return [text]
    return [line.plain.rstrip() for line in Text(text).wrap(console(), width, overflow="fold")]


def _padded(text: str, width: int, right: bool) -> str:
    space = " " * (width - cell_len(text))
    return space + text if right else text + space


def _longest_line(text: str) -> int:
    return max(map(cell_len, text.splitlines()), default=0)


def _longest_word(text: str) -> int:
    return max(map(cell_len, text.split()), default=0)


def printable(text: str) -> str:
    """Return the text with every control character escaped, except line feeds."""
    return "".join(sign if sign.isprintable() or sign == "\n" else repr(sign)[1:-1] for sign in text)


def count(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun: "1 file", "2 files"."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def size(number: float) -> str:
    """Return a number of bytes with its unit: "12.3 MB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def local_time(epoch: float) -> str:
    """Return a time in seconds since the epoch as local date and time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(epoch))
