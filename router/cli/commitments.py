"""`commitments`: storage commitment transactions, and a report of what was sent, acknowledged and committed."""

import csv
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from router.cli.admin_client import admin_option
from router.cli.configuration import config_option
from router.cli.output import count, json_option, local_time, print_json, print_line, print_table
from router.cli.sources import open_source
from router.config import Endpoint
from router.services.commitment.views import COLUMNS, totals_by_archive
from router.web.admin.requests import LIMIT, LIMIT_MAX

_EVENTS: Final = {None: "", 1: "all committed", 2: "failures"}
_TIMES: Final = ("received", "acknowledged", "committed")


@click.group()
@config_option
@click.pass_context
def commitments(ctx: click.Context, config_path: Path) -> None:
    """List storage commitment transactions, and reconcile what was sent with what archives have committed to."""
    ctx.obj = config_path


@commitments.command("list")
@click.option(
    "--limit", type=click.IntRange(1, LIMIT_MAX), default=LIMIT, show_default=True, help="Transactions to list at most."
)
@click.option("--before", metavar="ID", type=click.IntRange(1), help="Continue before this transaction.")
@json_option
@admin_option
@config_option
def list_(limit: int, before: int | None, as_json: bool, config_path: Path, admin: Endpoint | None) -> None:
    """List transactions, the newest first."""
    query = [("limit", str(limit))] + ([("before", str(before))] if before else [])
    page = open_source(config_path, admin).get("/api/commitments", query)
    if as_json:
        print_json(page)
        return
    if not page["commitments"]:
        print_line("no commitments")
        return
    rows = [
        (
            one["id"],
            one["calling_ae"],
            one["stage"],
            one["instances"],
            "" if one["failed"] is None else one["failed"],
            _EVENTS[one["event_type"]],
            local_time(one["received"]),
            ", ".join(_archive_state(archive) for archive in one["archives"]),
        )
        for one in page["commitments"]
    ]
    below = [one["transaction_uid"] for one in page["commitments"]]
    print_table(("id", "from", "stage", "instances", "failed", "told", "asked", "archives"), rows, below=below)
    if page["next"]:
        print_line(f"there may be more: --before {page['next']}")


def _archive_state(archive: dict[str, Any]) -> str:
    state = next((name for name in ("reported", "refused", "answered", "asked") if archive[name]), "to be asked")
    return f"{archive['archive']} {state}"


@commitments.command()
@click.argument("uid", metavar="UID|ID")
@json_option
@admin_option
@config_option
def show(uid: str, as_json: bool, config_path: Path, admin: Endpoint | None) -> None:
    """Show one transaction: what each archive answered, and when."""
    one = open_source(config_path, admin).get(f"/api/commitments/{quote(uid, safe='')}")
    if as_json:
        print_json(one)
        return
    told = f"told: {_EVENTS[one['event_type']]}" if one["event_type"] else "not decided yet"
    print_line(f"transaction {one['transaction_uid']} ({one['id']}): {one['stage']}, {told}")
    print_line(f"  from {one['calling_ae']}, {local_time(one['received'])}, {count(one['instances'], 'instance')}")
    for archive in one["archives"]:
        print_line(f"  {archive['archive']}, asked as {archive['uid']}")
        for name in ("asked", "answered", "reported", "refused"):
            if archive[name]:
                why = f": {archive['why']}" if name == "refused" else ""
                print_line(f"    {name} {local_time(archive[name])}{why}")
    names = [archive["archive"] for archive in one["archives"]]
    rows = [
        (
            reference["sop_instance_uid"],
            reference["result"] or "open",
            *(reference["archives"].get(name, {}).get("word", "") for name in names),
        )
        for reference in one["references"]
    ]
    print_table(("SOP instance", "told", *names), rows)


@commitments.command()
@click.option("--study", metavar="UID", help="Report the instances that the procedure steps of this study name.")
@click.option("--day", metavar="YYYY-MM-DD", help="Report what was received on this day. [default: today]")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="Output format; a table shows sums only.",
)
@admin_option
@config_option
def report(study: str | None, day: str | None, form: str, config_path: Path, admin: Endpoint | None) -> None:
    """Reconcile what was sent, acknowledged and committed, for each archive."""
    if study and day:
        raise click.UsageError("--study and --day exclude each other")
    source = open_source(config_path, admin)
    query = [("limit", str(LIMIT_MAX))]
    query += [("study", study)] if study else [("day", day)] if day else []
    rows: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = source.get("/api/commitments/report", [*query, ("after", str(after))])
        rows += page["rows"]
        after = page["next"]
    if form == "json":
        print_json({"archives": totals_by_archive(rows), "rows": rows})
    elif form == "csv":
        _write_csv(rows)
    else:
        _show_sums(rows)


def _write_csv(rows: list[dict[str, Any]]) -> None:
    writer = csv.DictWriter(sys.stdout, COLUMNS)
    writer.writeheader()
    for row in rows:
        times = {name: local_time(row[name]) if row[name] is not None else "" for name in _TIMES}
        writer.writerow({**row, **times, "sent": "yes" if row["sent"] else "no"})


def _show_sums(rows: list[dict[str, Any]]) -> None:
    sums = totals_by_archive(rows)
    if not sums:
        print_line("nothing was received")
        return
    headings = ("archive", "instances", "sent", "acknowledged", "committed", "gap")
    print_table(headings, [(one["archive"] or "(unrouted)", *(one[name] for name in headings[1:])) for one in sums])
