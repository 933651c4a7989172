"""`steps`: list, show and discard the procedure steps that the router knows.

What may identify the patient is shown only with --phi.
"""

from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from router.cli.admin_client import admin_option
from router.cli.configuration import config_option
from router.cli.output import count, json_option, local_time, print_json, print_line, print_table
from router.cli.sources import open_running, open_source
from router.config import Endpoint
from router.config.quantities import duration
from router.web.admin.requests import LIMIT, LIMIT_MAX

_STAGES: Final = {"in-progress": "IN PROGRESS", "completed": "COMPLETED", "discontinued": "DISCONTINUED"}

_phi_option = click.option("--phi", is_flag=True, help="Also show the patient and the accession number.")


@click.group()
@config_option
@click.pass_context
def steps(ctx: click.Context, config_path: Path) -> None:
    """List, show and discard procedure steps."""
    ctx.obj = config_path


def _age(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    try:
        if value is not None:
            duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, parameter) from None
    return value


@steps.command("list")
@click.option("--stage", type=click.Choice(list(_STAGES)), help="List steps in this state.")
@click.option(
    "--stale",
    metavar="AGE",
    callback=_age,
    help='List steps in progress that have not changed for this long, such as "30d"; the oldest first.',
)
@click.option(
    "--limit", type=click.IntRange(1, LIMIT_MAX), default=LIMIT, show_default=True, help="Steps to list at most."
)
@_phi_option
@json_option
@admin_option
@config_option
def list_(
    stage: str | None,
    stale: str | None,
    limit: int,
    phi: bool,
    as_json: bool,
    config_path: Path,
    admin: Endpoint | None,
) -> None:
    """List steps; the last changed first."""
    query = [("limit", str(limit)), *_with(phi)]
    if stage:
        query.append(("stage", _STAGES[stage]))
    if stale:
        query.append(("stale", stale))
    page = open_source(config_path, admin).get("/api/steps", query)
    if as_json:
        print_json(page)
        return
    if not page["steps"]:
        print_line("no steps")
        return
    headings = ["state", "modality", "from", "begun", "changed", "series", "instances", "waiting", "held"]
    rows = [_row(step) for step in page["steps"]]
    if phi:
        headings += ["accession number", "patient", "patient ID"]
        rows = [
            (*row, one["accession_number"], one["patient_name"], one["patient_id"])
            for row, one in zip(rows, page["steps"], strict=True)
        ]
    print_table(headings, rows, below=[one["uid"] for one in page["steps"]])


def _with(phi: bool) -> list[tuple[str, str]]:
    return [("phi", "1")] if phi else []


def _row(step: dict[str, Any]) -> tuple[object, ...]:
    return (
        step["stage"],
        step["modality"],
        step["calling_ae"],
        local_time(step["created"]),
        local_time(step["changed"]),
        step["series"],
        step["instances"],
        step["waiting"],
        step["held"],
    )


@steps.command()
@click.argument("uid", metavar="UID")
@_phi_option
@json_option
@admin_option
@config_option
def show(uid: str, phi: bool, as_json: bool, config_path: Path, admin: Endpoint | None) -> None:
    """Show one step with its messages, and its instances with their deliveries."""
    step = open_source(config_path, admin).get(f"/api/steps/{quote(uid, safe='')}", _with(phi))
    if as_json:
        print_json(step)
        return
    print_line(f"step {step['uid']}: {step['stage']}, {step['modality'] or 'modality unknown'}")
    print_line(f"  from {step['calling_ae']} at {step['peer']}, begun {local_time(step['created'])}")
    print_line(f"  validation {step['validation']}, answered by {step['answer']}, study {step['study_instance_uid']}")
    if phi:
        print_line(
            f"  patient {step['patient_name']} ({step['patient_id']}), accession number {step['accession_number']}"
        )
    for message in step["messages"]:
        print_line(f"  message {message['message_id']}: {message['kind']} ({message['stage']})")
        for one in message["deliveries"]:
            line = f"    to {one['destination'] or '(unrouted)'}: {one['state']}, {count(one['attempts'], 'attempt')}"
            print_line(f"{line}{one['reason'] and ': ' + one['reason']}")
    _show_instances(step)
    for notice in step["availability_owed"]:
        told = ", which knows of a part" if notice["told_in_part"] else ""
        print_line(f"  availability is still to be told to {notice['destination']}{told}")


@steps.command()
@click.argument("uids", metavar="UID...", nargs=-1, required=True)
@click.option("--reason", required=True, help="Reason, for the log; must not name a patient.")
@json_option
@admin_option
@config_option
def discard(uids: tuple[str, ...], reason: str, as_json: bool, config_path: Path, admin: Endpoint | None) -> None:
    """Forget steps in progress that their modality will never end; destinations are not told."""
    if not reason.strip():
        raise click.BadParameter("expected a text that is not empty", param_hint="--reason")
    answer = open_running(config_path, admin).post("/api/steps/discard", {"uids": uids, "reason": reason})
    if as_json:
        print_json(answer)
    else:
        print_line(f"{count(len(answer['discarded']), 'step')} discarded")
        for uid, why in answer["refused"].items():
            click.echo(f"{uid}: {why}", err=True)
    if answer["refused"]:
        raise click.exceptions.Exit(1)


def _show_instances(step: dict[str, Any]) -> None:
    """Print the instances of a step with the states of their deliveries."""
    came = sum(one["came"] for one in step["references"])
    print_line(
        f"  {count(step['series'], 'series', 'series')}, {count(step['instances'], 'instance')}, {came} came here"
    )
    for one in step["references"]:
        states = ", ".join(f"{delivery['destination']} {delivery['state']}" for delivery in one["deliveries"])
        print_line(f"    {one['sop_instance_uid']}: {states or 'has not been here'}")
