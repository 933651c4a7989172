"""Read router.toml into a `Config`, or raise all of its faults at once.

Reading goes on after a fault, and faults between tables (routes and peers, two listeners, sizes, pauses) are found in
the same run. Not here: single values (`quantities`, `identifiers`, `patterns`, `conditions`), single tables
(`reading`), and the keys of services (`registration`).
"""

import tomllib
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import attrs

from router.config.conditions import SERVICE_KEYS
from router.config.identifiers import peer_name
from router.config.options import Options
from router.config.patterns import Globs, glob, suggestion
from router.config.quantities import shown
from router.config.reading import ConfigError, Fault, T, Table, TableReader, readable
from router.config.service_options import RouteOptions, ServiceOptions
from router.config.statuses import Statuses
from router.config.values import (
    TLS,
    AccessSettings,
    AdminSettings,
    Config,
    Limits,
    Listener,
    Peer,
    Route,
    RouterSettings,
    SpoolTable,
    Timeouts,
)
from router.model import SpoolSettings

TABLES = (
    "router",
    "listeners",
    "timeouts",
    "limits",
    "access",
    "statuses",
    "spool",
    "admin",
    "peers",
    "routes",
)
"""The tables that are not a service's."""

Services = Mapping[str, ServiceOptions]
"""What each service registers, by its name."""


def load(path: Path, *, services: Services) -> Config:
    """Read a configuration file. Its folder is the base of relative paths in it.

    Raises:
        ConfigError: the file has faults; it names them all.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError([Fault("", f"{path} cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Fault("", f"{path} is not UTF-8 text: byte {error.start} does not fit")]) from error
    return attrs.evolve(parse(content, path.parent, services=services), path=path)


def parse(content: str, base: Path, *, services: Services) -> Config:
    """As `load`, from text; `base` is the base of relative paths."""
    try:
        document = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Fault("", f"this is not TOML: {error}")]) from error
    reader = TableReader()
    tables = {name: cls for service in services.values() for name, cls in service.tables.items()}
    reader.unknown(document, "", known=[*TABLES, *tables])
    router = _section(reader, RouterSettings, document, "router")
    config = Config(
        router=attrs.evolve(router, spool=base / router.spool),
        listeners=_listeners(reader, document, router),
        timeouts=_section(reader, Timeouts, document, "timeouts"),
        limits=_section(reader, Limits, document, "limits"),
        access=_section(reader, AccessSettings, document, "access"),
        statuses=_statuses(reader, document),
        spool=_spool(reader, document),
        admin=_admin(reader, document, base),
        options=Options(tuple(_section(reader, cls, document, name) for name, cls in tables.items())),
        peers=_peers(reader, document, router, services),
    )
    config = attrs.evolve(config, routes=_routes(reader, document, config, services))
    if reader.faults:
        raise ConfigError(reader.faults)
    for service in services.values():
        config = service.complete(config)
    return config


def _section(reader: TableReader, cls: type[T], document: Table, key: str) -> T:
    """Read a table in which every key has a default."""
    for section in reader.table(cls, document.get(key, {}), key):
        return section
    return cls()


def _tables(reader: TableReader, document: Table, key: str) -> list[Any]:
    """Return the tables under [[key]]."""
    tables = document.get(key, [])
    if isinstance(tables, list):
        return tables
    reader.fault(key, f"must be written with double brackets: [[{key}]]")
    return []


def _listeners(reader: TableReader, document: Table, router: RouterSettings) -> tuple[Listener, ...]:
    tables = _tables(reader, document, "listeners")
    known: dict[str, Any] = {"ae_title": router.ae_title, "maximum_pdu_length": router.maximum_pdu_length}
    implied = tables and "listen" not in document.get("router", {})
    listeners = [] if implied else [Listener(address=address, **known) for address in router.listen]
    for index, table in enumerate(tables):
        listeners += reader.table(Listener, table, f"listeners[{index}]", **known)
    if not tables and not listeners:
        reader.fault("router.listen", "is empty and there are no [[listeners]]: nobody could connect")
    for address, times in Counter(listener.address for listener in listeners).items():
        if times > 1 and address.port:
            reader.fault("router.listen", f"{shown(str(address))} is listened on {times} times")
    return tuple(listeners)


def _statuses(reader: TableReader, document: Table) -> Statuses:
    """Read [statuses]. The table of a calling AE title defaults to it."""
    given = document.get("statuses", {})
    if not isinstance(given, dict):
        return _section(reader, Statuses, document, "statuses")
    tables = given.get("by_calling_ae", {})
    common = {key: value for key, value in given.items() if key != "by_calling_ae"}
    statuses = _section(reader, Statuses, {"statuses": common}, "statuses")
    if not isinstance(tables, dict):
        reader.fault("statuses.by_calling_ae", 'must be tables, such as [statuses.by_calling_ae."CT*"]')
        return statuses
    by_calling_ae = []
    for pattern, table in tables.items():
        path = f"statuses.by_calling_ae.{shown(pattern)}"
        known = attrs.asdict(statuses, filter=lambda key, _: key.name != "by_calling_ae")
        for title in reader.one(glob, pattern, path):
            by_calling_ae += [(Globs((title,)), special) for special in reader.table(Statuses, table, path, **known)]
    return attrs.evolve(statuses, by_calling_ae=tuple(by_calling_ae))


def _admin(reader: TableReader, document: Table, base: Path) -> AdminSettings:
    admin = _section(reader, AdminSettings, document, "admin")
    tls = _tls(reader, admin.tls, base, "admin.tls")
    if not (admin.listen.is_loopback or admin.plaintext or tls.certificate):
        reader.fault(
            "admin.listen",
            f"{admin.listen} can be reached from other machines, and the token would cross the network in the clear: "
            "set admin.tls, or admin.plaintext = true",
        )
    return attrs.evolve(admin, tls=tls)


def _tls(reader: TableReader, tls: TLS, base: Path, path: str) -> TLS:
    """Return the table with absolute paths, and check that the files are there."""
    files = {name: getattr(tls, name) for name in ("certificate", "key", "ca")}
    found = {name: base / file for name, file in files.items() if file is not None}
    for name, file in found.items():
        if not file.is_file():
            reader.fault(f"{path}.{name}", f"there is no file {file}")
    if ("certificate" in found) != ("key" in found):
        reader.fault(path, "has only one of certificate and key, and needs both or neither")
    if tls.client != "off" and not {"certificate", "ca"} <= found.keys():
        reader.fault(f"{path}.client", "asks for certificates of clients, which needs certificate, key and ca")
    return attrs.evolve(tls, **found)


def _spool(reader: TableReader, document: Table) -> SpoolSettings:
    spool = _section(reader, SpoolTable, document, "spool")
    if spool.large_object > spool.memory:
        reader.fault(
            "spool.large_object", "is more than spool.memory, so that the largest small object would never fit"
        )
    return SpoolSettings(
        segment_size=spool.segment_size,
        large_object=spool.large_object,
        memory=spool.memory,
        free_space_floor=spool.free_space_floor,
        reserve=spool.reserve,
        history=spool.history,
    )


def _peers(reader: TableReader, document: Table, router: RouterSettings, services: Services) -> dict[str, Peer]:
    tables = document.get("peers", {})
    if not isinstance(tables, dict):
        reader.fault("peers", "must be tables with a name each, such as [peers.pacs]")
        return {}
    peers = {}
    known = {"calling_ae": router.ae_title, "maximum_pdu_length": router.maximum_pdu_length}
    classes = [service.peer for service in services.values() if service.peer is not None]
    for name, table in tables.items():
        path = f"peers.{name}"
        reader.one(peer_name, name, path)
        if not reader.is_table(table, path):
            continue
        reader.unknown(table, path, Peer, *classes)
        options = Options(tuple(value for cls in classes for value in reader.value(cls, table, path)))
        for peer in reader.value(Peer, table, path, name=name, options=options, **known):
            peers[name] = peer
            if peer.retry.max < peer.retry.first:
                reader.fault(f"{path}.retry.max", "is less than the first pause")
            if peer.retry.give_up < peer.retry.first:
                reader.fault(f"{path}.retry.give_up", "is less than the first pause")
    return peers


def _routes(reader: TableReader, document: Table, config: Config, services: Services) -> tuple[Route, ...]:
    routes: list[Route] = []
    names: set[str] = set()
    classes = {name: service.route for name, service in services.items() if service.route is not None}
    for index, table in enumerate(_tables(reader, document, "routes")):
        name = table.get("name") if isinstance(table, dict) else None
        path = f"routes[{shown(name) if isinstance(name, str) else index}]"
        if reader.is_table(table, path):
            reader.unknown(table, path, Route, *classes.values())
            options = _route_options(reader, table, config, classes, path)
            routes += reader.value(Route, table, path, options=Options(options))
            _check_service(reader, table.get("service"), classes, f"{path}.service")
            _check_conditions(reader, table, classes, f"{path}.when")
            _check_destinations(reader, table, document, f"{path}.to")
        if isinstance(name, str) and name in names:
            reader.fault(f"{path}.name", "is the name of an earlier route too")
        names.add(str(name))
    return tuple(routes)


def _route_options(
    reader: TableReader, table: Table, config: Config, classes: Mapping[str, type[RouteOptions]], path: str
) -> tuple[RouteOptions, ...]:
    """Read the keys of the route's service. A key of another service is a fault, and is read to find further faults."""
    own = classes.get(str(table.get("service")), RouteOptions)
    for key in table:
        services = [name for name, cls in classes.items() if key in readable(cls)]
        if services and key not in readable(own):
            reader.fault(f"{path}.{key}", f"is a key of routes for {' and '.join(services)} only")
            reader.key(readable(classes[services[0]])[key], table[key], f"{path}.{key}")
    options = reader.value(own, table, path)
    to = tuple(name for name in _listed(table.get("to")) if isinstance(name, str))
    for value in options:
        for key, message in value.faults(to, config):
            reader.fault(f"{path}.{key}", message)
    return options


def _listed(value: object) -> list[object]:
    """Return a list as it is, and one value as a list."""
    return value if isinstance(value, list) else [value]


def _check_service(reader: TableReader, service: object, services: Collection[str], path: str) -> None:
    if isinstance(service, str) and service not in services:
        reader.fault(
            path,
            f"there is no service {shown(service)} in this version of the router{suggestion(service, services)}; "
            f"a route can be for: {', '.join(services)}",
        )


def _check_conditions(reader: TableReader, table: Table, classes: Mapping[str, type[RouteOptions]], path: str) -> None:
    """Check that the service of the route knows what its conditions are about when it matches them."""
    service, when = str(table.get("service")), table.get("when")
    options = classes.get(service, RouteOptions)
    for key in when if isinstance(when, dict) else ():
        if options.WHEN is not None and key not in options.WHEN:
            only = ", ".join(sorted(options.WHEN))
            reader.fault(f"{path}.{key}", f"cannot be a condition for {service}, only: {only}")
        elif key in SERVICE_KEYS and key not in options.OWN_KEYS:
            known = [name for name, one in classes.items() if key in one.OWN_KEYS]
            reader.fault(f"{path}.{key}", f"can be a condition for {' and '.join(known)} only")


def _check_destinations(reader: TableReader, table: Table, document: Table, path: str) -> None:
    """Check `to` against the peers as written, so that a fault in a peer is not reported twice."""
    to, service = table.get("to"), str(table.get("service"))
    peers = document.get("peers", {})
    if to == []:
        reader.fault(path, "is empty: a route must lead to at least one peer")
    for name in _listed(to):
        if not isinstance(name, str) or not isinstance(peers, dict):
            continue
        if name not in peers:
            reader.fault(path, f"there is no peer {shown(name)}{suggestion(name, peers)}")
        elif isinstance(peers[name], dict) and not _has_address(peers[name], service):
            reader.fault(path, f"the peer {shown(name)} has no address, so nothing can be sent to it")


def _has_address(peer: Table, service: str) -> bool:
    """Whether the peer has an address, or its AE for the service has one."""
    own = peer.get(service)
    return "address" in peer or (isinstance(own, dict) and bool(own.get("address")))
