"""`explain`: where files would be routed, and why, by the configuration alone. Nothing is sent.

Of a data set, only the elements of conditions are read, and only those that kept a route from matching are shown.
"""

from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click
from attrs import evolve

from router.cli.configuration import config_option, read_config
from router.cli.errors import EXIT_FAILED
from router.cli.explain_conversation import (
    CONVERSATIONS,
    Asked,
    access_checks,
    explain_conversation,
    routes_of,
    show_conversation,
    show_routes,
)
from router.cli.output import json_option, print_json, print_line
from router.config import Config
from router.dicom.encoding import MalformedDataSet
from router.dicom.information_models import LEVELS, MODELS
from router.dicom.part10 import NotDICOM
from router.dicom.uids import name_of
from router.routing import Facts, RoutingTable
from router.services import ROUTED
from router.services.storage import StorageSettings
from router.tools.send import Instance, elements, examine


def _ip_address(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    try:
        return str(ip_address(value))
    except ValueError:
        raise click.BadParameter(f"invalid IP address {value!r}", ctx, parameter) from None


@click.command()
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--calling", metavar="AE", default="", help="The AE title of the sender.")
@click.option("--called", metavar="AE", help="The AE title that the sender calls. [default: ours]")
@click.option(
    "--peer",
    metavar="IP",
    default="127.0.0.1",
    show_default=True,
    callback=_ip_address,
    help="The address of the sender.",
)
@click.option(
    "--service", type=click.Choice(ROUTED), default="storage", show_default=True, help="The service to route for."
)
@click.option("--key", "keys", metavar="KEY=VALUE", multiple=True, help="A key of a query, worklist or retrieve.")
@click.option("--model", type=click.Choice(list(MODELS)), help="Its information model. [default: study, or worklist]")
@click.option("--level", type=click.Choice(LEVELS, case_sensitive=False), help="Its level. [default: the highest]")
@click.option("--destination", metavar="PEER", default="", help="Where a C-MOVE is to send; none for a C-GET.")
@click.option("--sop-class", metavar="UID", default="", help="The SOP class that is relayed.")
@json_option
@config_option
@click.pass_context
def explain(
    ctx: click.Context,
    files: tuple[Path, ...],
    keys: tuple[str, ...],
    model: str | None,
    level: str | None,
    destination: str,
    sop_class: str,
    calling: str,
    called: str | None,
    peer: str,
    service: str,
    as_json: bool,
    config_path: Path,
) -> None:
    """Explain for each FILE which routes match, why the others do not, and where it would be delivered.

    With --service query, worklist or retrieve, explain it for the keys of a request; with relay, for a SOP class.
    """
    config = read_config(config_path)
    association = Facts(
        service=service,
        calling_ae=calling,
        called_ae=called or config.router.ae_title,
        peer=peer,
        sop_class="",
        transfer_syntax="",
    )
    table = RoutingTable(config.routes)
    if service in CONVERSATIONS:
        if files:
            raise click.UsageError(f"service {service} has no files: give --key or --sop-class")
        request = Asked(model=model, level=level, keys=keys, destination=destination, sop_class=sop_class)
        answer = explain_conversation(association, request, table, config)
        if as_json:
            print_json([answer])
        else:
            show_conversation(answer)
        return
    if not files or keys or model or level or destination or sop_class:
        raise click.UsageError(f"service {service} needs a FILE, and no keys")
    answers = [_explain(path, association, table, config) for path in files]
    if as_json:
        print_json(answers)
    else:
        for answer in answers:
            _show(answer)
    if any("error" in answer for answer in answers):
        ctx.exit(EXIT_FAILED)


def _explain(path: Path, association: Facts, table: RoutingTable, config: Config) -> dict[str, Any]:
    try:
        instance = examine(path)
        found = elements(path, instance.offset, instance.transfer_syntax, table.elements)
    except (NotDICOM, MalformedDataSet) as error:
        return {"file": str(path), "error": str(error)}
    except OSError as error:
        return {"file": str(path), "error": error.strerror or str(error)}
    facts = evolve(
        association,
        sop_class=instance.sop_class_uid,
        transfer_syntax=instance.transfer_syntax,
        elements=found,
    )
    match = table.match(facts)
    return {
        "file": str(path),
        "sop_class_uid": instance.sop_class_uid,
        "sop_instance_uid": instance.sop_instance_uid,
        "transfer_syntax": instance.transfer_syntax,
        "routes": routes_of(match),
        "destinations": list(match.destinations),
        "refused": _refusal(instance, facts, bool(match.destinations), config),
        "held": not match.destinations and config.router.unrouted == "hold",
    }


def _refusal(instance: Instance, facts: Facts, routed: bool, config: Config) -> list[str]:
    """Return the reasons why the router would refuse the object; none if it would accept it."""
    storage = config.options[StorageSettings]
    checks = (
        *access_checks(facts, config),
        (storage.calling_ae.matches(facts.calling_ae), f'[storage] lets "{facts.calling_ae}" store nothing'),
        (storage.sop_classes.matches(facts.sop_class), f"[storage] accepts no {name_of(facts.sop_class)}"),
        (
            storage.transfer_syntaxes.matches(facts.transfer_syntax),
            f"[storage] accepts no {name_of(facts.transfer_syntax)}",
        ),
        (routed or config.router.unrouted == "hold", "no route matches it"),
    )
    return [reason for is_met, reason in checks if not is_met]


def _show(answer: dict[str, Any]) -> None:
    print_line(answer["file"])
    if "error" in answer:
        print_line(f"  cannot be explained: {answer['error']}")
        return
    print_line(f"  {name_of(answer['sop_class_uid'])}, {name_of(answer['transfer_syntax'])}")
    show_routes(answer)
    if answer["refused"]:
        print_line(f"  => refused: {'; '.join(answer['refused'])}")
    elif answer["held"]:
        print_line("  => held: no route matches, and unrouted objects are held for an operator")
    else:
        print_line(f"  => {', '.join(answer['destinations'])}")
