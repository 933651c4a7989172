"""`queue`: list, show and export deliveries, and change them.

Reading also works on the spool of a stopped router; a change needs the running router, which is the only writer.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from router.cli.admin_client import admin_option
from router.cli.configuration import config_option
from router.cli.errors import EXIT_FAILED, CommandError
from router.cli.output import count, json_option, local_time, print_json, print_line, print_table, size
from router.cli.sources import open_running, open_source
from router.config import Endpoint
from router.dicom.uids import name_of
from router.web.admin.requests import LIMIT, LIMIT_MAX

_STATES: Final = ("waiting", "held", "delivered", "discarded")
_UNFINISHED: Final = ("waiting", "held")
_PAST: Final = {"retry": "to be tried again", "hold": "held", "release": "released", "discard": "discarded"}
_GOES: Final = ("retry", "release")
"""Actions that can send unrouted messages to a destination."""


_phi_option = click.option(
    "--phi", is_flag=True, help="Also show the Error Comments of peers, which may name patients."
)


@click.group()
@config_option
@click.pass_context
def queue(ctx: click.Context, config_path: Path) -> None:
    """List, show, export and change deliveries."""
    ctx.obj = config_path


@queue.command("list")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([*_STATES, "all"]),
    help="List deliveries in this state; may be repeated. [default: waiting and held]",
)
@click.option("--destination", metavar="NAME", help='List deliveries to this peer; "" for unrouted messages.')
@click.option(
    "--limit", type=click.IntRange(1, LIMIT_MAX), default=LIMIT, show_default=True, help="Deliveries to list at most."
)
@click.option("--after", metavar="ID", type=click.IntRange(0), help="Continue after this message.")
@_phi_option
@json_option
@admin_option
@config_option
def list_(
    states: tuple[str, ...],
    destination: str | None,
    limit: int,
    after: int | None,
    phi: bool,
    as_json: bool,
    config_path: Path,
    admin: Endpoint | None,
) -> None:
    """List deliveries, oldest first."""
    wanted = () if "all" in states else states or _UNFINISHED
    query = [("state", state) for state in wanted] + [("limit", str(limit))]
    if destination is not None:
        query.append(("destination", destination))
    if after is not None:
        query.append(("after", str(after)))
    page = open_source(config_path, admin).get("/api/queue", query + _with(phi))
    if as_json:
        print_json(page)
    else:
        _show_page(page)


def _with(phi: bool) -> list[tuple[str, str]]:
    return [("phi", "1")] if phi else []


def _why(delivery: dict[str, Any]) -> str:
    """Return the reason of a delivery's state, with the peer's Error Comment if --phi asked for it."""
    comment = delivery.get("comment")
    return f"{delivery['reason']} ({comment})" if comment else str(delivery["reason"])


def _show_page(page: dict[str, Any]) -> None:
    if not page["deliveries"]:
        print_line("no deliveries")
        return
    rows = [
        (
            one["message_id"],
            one["destination"] or "(unrouted)",
            one["state"],
            one["attempts"],
            local_time(one["received"]),
            one["calling_ae"],
            size(one["data_length"]),
        )
        for one in page["deliveries"]
    ]
    below = [f"{one['sop_instance_uid']}\n{_why(one)}".strip() for one in page["deliveries"]]
    print_table(("id", "destination", "state", "attempts", "received", "from", "size"), rows, below=below)
    if page["next"]:
        print_line(f"there may be more: --after {page['next']}")


@queue.command()
@click.argument("message_id", metavar="ID", type=click.IntRange(1))
@_phi_option
@json_option
@admin_option
@config_option
def show(message_id: int, phi: bool, as_json: bool, config_path: Path, admin: Endpoint | None) -> None:
    """Show one message and each of its deliveries."""
    message = open_source(config_path, admin).get(f"/api/queue/{message_id}", _with(phi))
    if as_json:
        print_json(message)
        return
    print_line(f"message {message['message_id']}: {message['kind']}, received {local_time(message['received'])}")
    print_line(f"  from {message['calling_ae']} at {message['peer']} to {message['called_ae']}")
    print_line(f"  {name_of(message['sop_class_uid'])}, instance {message['sop_instance_uid']}")
    print_line(f"  {name_of(message['transfer_syntax'])}, {size(message['data_length'])}, in {message['where']}")
    for one in message["deliveries"]:
        line = f"  to {one['destination'] or '(unrouted)'}: {one['state']} since {local_time(one['changed'])}"
        print_line(f"{line}, {count(one['attempts'], 'attempt')}{_why(one) and ': ' + _why(one)}")
    for one in message["together"]:
        line = f"  in order with message {one['message_id']}, {one['kind']}, to {one['destination'] or '(unrouted)'}"
        print_line(f"{line}: {one['state']}{_why(one) and ': ' + _why(one)}")


@queue.command()
@click.argument("message_id", metavar="ID", type=click.IntRange(1))
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File to write; - is standard output. [default: message-ID.dcm]",
)
@admin_option
@config_option
def export(message_id: int, output: Path | None, config_path: Path, admin: Endpoint | None) -> None:
    """Write the object of a message to a new file, as it was received."""
    source = open_source(config_path, admin)
    if output == Path("-"):
        source.export(message_id, sys.stdout.buffer)
        return
    path = output or Path(f"message-{message_id}.dcm")
    _write_new(path, lambda out: source.export(message_id, out))
    print_line(f"message {message_id} is in {path}")


def _write_new(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Create the file; remove it again if `write` fails."""
    try:
        out = path.open("xb")
    except OSError as error:
        raise CommandError(f"cannot create {path}: {error.strerror}") from None
    try:
        with out:
            write(out)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _add_command(action: str, help_text: str) -> None:
    """Add the command of one action."""

    @queue.command(action, help=help_text)
    @click.argument("ids", metavar="[ID]...", nargs=-1, type=click.IntRange(1))
    @click.option("--destination", metavar="NAME", help='Change deliveries to this peer; "" for unrouted messages.')
    @click.option(
        "--state", "states", multiple=True, type=click.Choice(_UNFINISHED), help="Change deliveries in this state."
    )
    @click.option("--all", "everything", is_flag=True, help="Change the whole queue.")
    @click.option("--to", metavar="NAME", help="Send unrouted messages to this peer.", hidden=action not in _GOES)
    @json_option
    @admin_option
    @config_option
    @click.pass_context
    def command(
        ctx: click.Context,
        ids: tuple[int, ...],
        destination: str | None,
        states: tuple[str, ...],
        everything: bool,
        to: str | None,
        as_json: bool,
        config_path: Path,
        admin: Endpoint | None,
    ) -> None:
        selection = _selection(ids, destination, states, everything, to)
        answer = open_running(config_path, admin).post(f"/api/queue/{action}", selection)
        if as_json:
            print_json(answer)
        else:
            print_line(f"{count(answer['changed'], 'delivery', 'deliveries')} {_PAST[action]}")
            if not answer["changed"] and action in _GOES and to is None:
                print_line("unrouted messages need a destination: give --to")
        if ids and not answer["changed"]:
            ctx.exit(EXIT_FAILED)


def _selection(
    ids: tuple[int, ...], destination: str | None, states: tuple[str, ...], everything: bool, to: str | None
) -> dict[str, Any]:
    """Return the selection as the admin API expects it."""
    selection: dict[str, Any] = {}
    if ids:
        selection["ids"] = list(ids)
    if destination is not None:
        selection["destination"] = destination
    if states:
        selection["state"] = list(states)
    if everything and selection:
        raise click.UsageError("--all excludes ids, --destination and --state")
    if not everything and not selection:
        raise click.UsageError("no deliveries selected: give ids, --destination, --state, or --all")
    if everything:
        selection["all"] = True
    if to is not None:
        selection["to"] = to
    return selection


_add_command("retry", "Try waiting and held deliveries again now.")
_add_command("hold", "Hold deliveries until they are released.")
_add_command("release", "Release held deliveries.")
_add_command("discard", "Never make these deliveries; an object without other deliveries is deleted.")
