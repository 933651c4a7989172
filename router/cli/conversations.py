"""`conversations`: list and show the queries, retrieves and relayed associations of the running router.

They are kept in memory only, and hold no key and no patient.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from router.cli.admin_client import admin_option
from router.cli.configuration import config_option
from router.cli.output import json_option, local_time, print_json, print_line, print_table
from router.cli.sources import open_running
from router.config import Endpoint
from router.web.admin.requests import ID_MAX, LIMIT, LIMIT_MAX


@click.group()
@config_option
@click.pass_context
def conversations(ctx: click.Context, config_path: Path) -> None:
    """List and show conversations of the running router: queries, worklists, retrieves, relayed associations."""
    ctx.obj = config_path


@conversations.command("list")
@click.option("--live", is_flag=True, help="List only what is not finished.")
@click.option(
    "--limit",
    type=click.IntRange(1, LIMIT_MAX),
    default=LIMIT,
    show_default=True,
    help="Finished ones to list at most.",
)
@json_option
@admin_option
@config_option
def list_(live: bool, limit: int, as_json: bool, config_path: Path, admin: Endpoint | None) -> None:
    """List the live conversations, then the finished ones, the last first."""
    query = [("limit", str(limit)), *([("live", "1")] if live else [])]
    page = open_running(config_path, admin).get("/api/conversations", query)
    if as_json:
        print_json(page)
    elif shown := page["live"] + page["finished"]:
        print_conversations(shown)
    else:
        print_line("no conversations")


@conversations.command("show")
@click.argument("number", metavar="N", type=click.IntRange(1, ID_MAX))
@json_option
@admin_option
@config_option
def show(number: int, as_json: bool, config_path: Path, admin: Endpoint | None) -> None:
    """Show one conversation: who asked for what, and what each archive has answered."""
    one = open_running(config_path, admin).get(f"/api/conversations/{number}")
    if as_json:
        print_json(one)
        return
    print_line(f"conversation {one['number']}: {one['service']}, {one['what']}")
    print_line(
        f"  from {one['calling_ae']} at {one['peer']} to {one['called_ae']}, association {one['association']},"
        f" begun {local_time(one['started'])}"
    )
    print_line(f"  {_stage(one)}, {one['seconds']:.3f} s")
    if one["counts"]:
        print_line("  " + ", ".join(f"{count} {name}" for name, count in one["counts"].items()))
    if "operations" in one:
        _show_relayed(one)
    if one["archives"]:
        _show_archives(one["archives"])


def _show_relayed(one: dict[str, Any]) -> None:
    """Show what has passed through a relay, both ways."""
    for whose, operations, size in (
        ("client", one["operations"], one["data_set_bytes"]),
        ("peer", one["operations_of_peer"], one["data_set_bytes_of_peer"]),
    ):
        named = ", ".join(f"{count} {name}" for name, count in operations.items()) or "no operations"
        print_line(f"  of the {whose}: {named}; data sets of {size} bytes")
    if one["statuses"]:
        print_line("  responses: " + ", ".join(f"{count} {status}" for status, count in one["statuses"].items()))


def print_conversations(shown: Sequence[dict[str, Any]]) -> None:
    """Print a table of conversations."""
    rows = [
        (
            one["number"],
            one["service"],
            one["what"],
            one["calling_ae"],
            sum(archive["matches"] for archive in one["archives"].values()),
            f"{one['seconds']:.1f} s",
            _stage(one),
        )
        for one in shown
    ]
    print_table(("number", "service", "what", "from", "matches", "time", "status"), rows)


def _stage(one: dict[str, Any]) -> str:
    return "live" if one["live"] else str(one["status"])


def _show_archives(archives: dict[str, dict[str, Any]]) -> None:
    rows = [
        (
            name,
            one["asked"],
            one["matches"],
            one["duplicates"],
            one["failed"],
            _seconds(one["first_answer_after"]),
            _seconds(one["seconds"]),
            one["status"],
        )
        for name, one in archives.items()
    ]
    headings = ("archive", "asked", "matches", "duplicates", "failed", "first answer", "time", "status")
    print_table(headings, rows, below=[one["cause"] for one in archives.values()])


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3f} s"
