"""`queue`: what waits, what is held and why; and the changes that a person makes to it.

Looking works on the spool of a stopped router too; changing needs the running one, which is the only writer.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from router.cli.admin_client import admin_option
from router.cli.configuration import config_option
from router.cli.failing import EXIT_FAILED, CommandError
from router.cli.output import count, json_option, moment, say, say_json, say_table, size
from router.cli.sources import open_running, open_source
from router.config import Endpoint
from router.dicom.uids import name_of
from router.web.admin.requests import LIMIT, LIMIT_MAX

_STATES: Final = ("waiting", "held", "delivered", "discarded")
_UNFINISHED: Final = ("waiting", "held")
_PAST: Final = {"retry": "to be tried again", "hold": "held", "release": "released", "discard": "discarded"}
_GOES: Final = ("retry", "release")
"""Actions by which what no route wanted can be sent on its way."""


_phi_option = click.option("--phi", is_flag=True, help="Show the Error Comments of peers too: they may name patients.")


@click.group()
@config_option
@click.pass_context
def queue(ctx: click.Context, config_path: Path) -> None:
    """Look into the queue of deliveries, and change it."""
    ctx.obj = config_path


@queue.command("list")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([*_STATES, "all"]),
    help="Only these; waiting and held unless told.",
)
@click.option("--destination", metavar="NAME", help='Only to this peer; "" for what no route wanted.')
@click.option("--limit", type=click.IntRange(1, LIMIT_MAX), default=LIMIT, show_default=True)
@click.option("--after", metavar="ID", type=click.IntRange(0), help="Go on behind this message.")
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
        say_json(page)
    else:
        _show_page(page)


def _with(phi: bool) -> list[tuple[str, str]]:
    return [("phi", "1")] if phi else []


def _why(delivery: dict[str, Any]) -> str:
    """The reason of a delivery's state, with the peer's own words where they were asked for."""
    comment = delivery.get("comment")
    return f"{delivery['reason']} ({comment})" if comment else str(delivery["reason"])


def _show_page(page: dict[str, Any]) -> None:
    if not page["deliveries"]:
        say("no deliveries")
        return
    rows = [
        (
            one["message_id"],
            one["destination"] or "(unrouted)",
            one["state"],
            one["attempts"],
            moment(one["received"]),
            one["calling_ae"],
            size(one["data_length"]),
        )
        for one in page["deliveries"]
    ]
    below = [f"{one['sop_instance_uid']}\n{_why(one)}".strip() for one in page["deliveries"]]
    say_table(("id", "destination", "state", "attempts", "received", "from", "size"), rows, below=below)
    if page["next"]:
        say(f"there may be more: --after {page['next']}")


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
        say_json(message)
        return
    say(f"message {message['message_id']}: {message['kind']}, received {moment(message['received'])}")
    say(f"  from {message['calling_ae']} at {message['peer']} to {message['called_ae']}")
    say(f"  {name_of(message['sop_class_uid'])}, instance {message['sop_instance_uid']}")
    say(f"  {name_of(message['transfer_syntax'])}, {size(message['data_length'])}, in {message['where']}")
    for one in message["deliveries"]:
        words = f"  to {one['destination'] or '(unrouted)'}: {one['state']} since {moment(one['changed'])}"
        say(f"{words}, {count(one['attempts'], 'attempt')}{_why(one) and ': ' + _why(one)}")
    for one in message["together"]:
        words = f"  in order with message {one['message_id']}, {one['kind']}, to {one['destination'] or '(unrouted)'}"
        say(f"{words}: {one['state']}{_why(one) and ': ' + _why(one)}")


@queue.command()
@click.argument("message_id", metavar="ID", type=click.IntRange(1))
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), metavar="FILE", help="message-ID.dcm unless told; - for a pipe."
)
@admin_option
@config_option
def export(message_id: int, output: Path | None, config_path: Path, admin: Endpoint | None) -> None:
    """Write a message's object to a new file, as it was received."""
    source = open_source(config_path, admin)
    if output == Path("-"):
        source.export(message_id, sys.stdout.buffer)
        return
    path = output or Path(f"message-{message_id}.dcm")
    _write_new(path, lambda out: source.export(message_id, out))
    say(f"message {message_id} is in {path}")


def _write_new(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Make the file, whole or not at all."""
    try:
        out = path.open("xb")
    except OSError as error:
        raise CommandError(f"{path} cannot be made: {error.strerror}") from None
    try:
        with out:
            write(out)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _change(action: str, words: str) -> None:
    """Add the command of one action."""

    @queue.command(action, help=words)
    @click.argument("ids", metavar="[ID]...", nargs=-1, type=click.IntRange(1))
    @click.option("--destination", metavar="NAME", help='Deliveries to this peer; "" for what no route wanted.')
    @click.option("--state", "states", multiple=True, type=click.Choice(_UNFINISHED), help="Deliveries in this state.")
    @click.option("--all", "everything", is_flag=True, help="The whole queue.")
    @click.option("--to", metavar="NAME", help="Where to send what no route wanted.", hidden=action not in _GOES)
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
            say_json(answer)
        else:
            say(f"{count(answer['changed'], 'delivery', 'deliveries')} {_PAST[action]}")
            if not answer["changed"] and action in _GOES and to is None:
                say("what no route wanted goes nowhere unless --to says where")
        if ids and not answer["changed"]:
            ctx.exit(EXIT_FAILED)


def _selection(
    ids: tuple[int, ...], destination: str | None, states: tuple[str, ...], everything: bool, to: str | None
) -> dict[str, Any]:
    """As the admin API takes it."""
    selection: dict[str, Any] = {}
    if ids:
        selection["ids"] = list(ids)
    if destination is not None:
        selection["destination"] = destination
    if states:
        selection["state"] = list(states)
    if everything and selection:
        raise click.UsageError("--all leaves nothing to choose by ids, --destination or --state")
    if not everything and not selection:
        raise click.UsageError("say which deliveries: ids, --destination, --state, or --all")
    if everything:
        selection["all"] = True
    if to is not None:
        selection["to"] = to
    return selection


_change("retry", "Try again now what waits or is held.")
_change("hold", "Stop trying, until released.")
_change("release", "Let go what is held.")
_change("discard", "Never deliver. The object goes as soon as no other destination wants it.")
