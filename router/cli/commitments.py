"""`commitments`: which archive promised what and when, and a report of what was sent, acknowledged and committed."""

import csv
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from router.cli.admin_client import admin_option
from router.cli.configuration import config_option
from router.cli.output import count, json_option, moment, say, say_json, say_table
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
    """Look at storage commitment: what was asked, and what archives have promised."""
    ctx.obj = config_path


@commitments.command("list")
@click.option("--limit", type=click.IntRange(1, LIMIT_MAX), default=LIMIT, show_default=True)
@click.option("--before", metavar="ID", type=click.IntRange(1), help="Go on before this transaction.")
@json_option
@admin_option
@config_option
def list_(limit: int, before: int | None, as_json: bool, config_path: Path, admin: Endpoint | None) -> None:
    """List transactions, the newest first."""
    query = [("limit", str(limit))] + ([("before", str(before))] if before else [])
    page = open_source(config_path, admin).get("/api/commitments", query)
    if as_json:
        say_json(page)
        return
    if not page["commitments"]:
        say("no commitments")
        return
    rows = [
        (
            one["id"],
            one["calling_ae"],
            one["stage"],
            one["instances"],
            "" if one["failed"] is None else one["failed"],
            _EVENTS[one["event_type"]],
            moment(one["received"]),
            ", ".join(_archive_words(archive) for archive in one["archives"]),
        )
        for one in page["commitments"]
    ]
    below = [one["transaction_uid"] for one in page["commitments"]]
    say_table(("id", "from", "stage", "instances", "failed", "told", "asked", "archives"), rows, below=below)
    if page["next"]:
        say(f"there may be more: --before {page['next']}")


def _archive_words(archive: dict[str, Any]) -> str:
    state = next((name for name in ("reported", "refused", "answered", "asked") if archive[name]), "to be asked")
    return f"{archive['archive']} {state}"


@commitments.command()
@click.argument("uid", metavar="UID|ID")
@json_option
@admin_option
@config_option
def show(uid: str, as_json: bool, config_path: Path, admin: Endpoint | None) -> None:
    """Show one transaction: which archive said what, when."""
    one = open_source(config_path, admin).get(f"/api/commitments/{quote(uid, safe='')}")
    if as_json:
        say_json(one)
        return
    told = f"told: {_EVENTS[one['event_type']]}" if one["event_type"] else "not decided yet"
    say(f"transaction {one['transaction_uid']} ({one['id']}): {one['stage']}, {told}")
    say(f"  from {one['calling_ae']}, {moment(one['received'])}, {count(one['instances'], 'instance')}")
    for archive in one["archives"]:
        say(f"  {archive['archive']}, asked as {archive['uid']}")
        for name in ("asked", "answered", "reported", "refused"):
            if archive[name]:
                why = f": {archive['why']}" if name == "refused" else ""
                say(f"    {name} {moment(archive[name])}{why}")
    names = [archive["archive"] for archive in one["archives"]]
    rows = [
        (
            reference["sop_instance_uid"],
            reference["result"] or "open",
            *(reference["archives"].get(name, {}).get("word", "") for name in names),
        )
        for reference in one["references"]
    ]
    say_table(("SOP instance", "told", *names), rows)


@commitments.command()
@click.option("--study", metavar="UID", help="The instances of a study, as its procedure steps name them.")
@click.option("--day", metavar="YYYY-MM-DD", help="What was received on a day; today unless told.")
@click.option(
    "--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", help="A table has sums only."
)
@admin_option
@config_option
def report(study: str | None, day: str | None, form: str, config_path: Path, admin: Endpoint | None) -> None:
    """Reconcile: what was sent, acknowledged and committed, for each archive."""
    if study and day:
        raise click.UsageError("give --study or --day, not both")
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
        say_json({"archives": totals_by_archive(rows), "rows": rows})
    elif form == "csv":
        _write_csv(rows)
    else:
        _show_sums(rows)


def _write_csv(rows: list[dict[str, Any]]) -> None:
    writer = csv.DictWriter(sys.stdout, COLUMNS)
    writer.writeheader()
    for row in rows:
        times = {name: moment(row[name]) if row[name] is not None else "" for name in _TIMES}
        writer.writerow({**row, **times, "sent": "yes" if row["sent"] else "no"})


def _show_sums(rows: list[dict[str, Any]]) -> None:
    sums = totals_by_archive(rows)
    if not sums:
        say("nothing was received")
        return
    headings = ("archive", "instances", "sent", "acknowledged", "committed", "gap")
    say_table(headings, [(one["archive"] or "(unrouted)", *(one[name] for name in headings[1:])) for one in sums])
