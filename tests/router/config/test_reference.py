"""router.toml and docs/configuration.md are the reference: both have every key and its default."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import attrs
import pytest

from router.config import (
    TLS,
    AccessSettings,
    AdminSettings,
    Config,
    Limits,
    Listener,
    Options,
    Peer,
    Route,
    RouteOptions,
    RouterSettings,
    ServiceOptions,
    Statuses,
    Timeouts,
)
from router.config.conditions import ASSOCIATION_KEYS, SERVICE_KEYS
from router.config.load import TABLES
from router.config.reading import readable
from router.config.values import SpoolTable
from router.services import OPTIONS, load_config, parse_config

TOP = Path(__file__).parents[3]
REFERENCE = TOP / "router.toml"
DOCS = TOP / "docs" / "configuration.md"

Classes = tuple[type[attrs.AttrsInstance], ...]


def classes(services: Mapping[str, ServiceOptions]) -> dict[str, Classes]:
    """Return the classes of each table of a configuration, by the heading of the table in the documentation."""
    registered = services.values()
    peer: Classes = (Peer, *(one.peer for one in registered if one.peer is not None))
    return {
        "[router]": (RouterSettings,),
        "[[listeners]]": (Listener,),
        "[timeouts]": (Timeouts,),
        "[limits]": (Limits,),
        "[access]": (AccessSettings,),
        "[statuses]": (Statuses,),
        "[spool]": (SpoolTable,),
        "[admin]": (AdminSettings,),
        "[admin.tls]": (TLS,),
        **{f"[{name}]": (cls,) for one in registered for name, cls in one.tables.items()},
        "[peers.NAME]": peer,
        **{key: (mark,) for cls in peer for key, mark in readable(cls).items() if isinstance(mark, type)},
        "[[routes]]": (Route, *(one.route for one in registered if one.route is not None)),
    }


CLASSES = classes(OPTIONS)
ROUTES_OF = "[[routes]] for "
"""Beginning of the headings of sections on routes for single services."""
OF_A_PEER = [heading for heading in CLASSES if not heading.startswith("[")]
"""Tables within [peers.NAME]."""

BY_THE_VERSION = "implementation_version_name"
"""The one key that is a comment in the reference, because its default changes with every version."""


def keys(services: Mapping[str, ServiceOptions] = OPTIONS) -> list[tuple[str, str]]:
    """Return heading and name of every key that a configuration may have."""
    return [(heading, key) for heading, some in classes(services).items() for cls in some for key in readable(cls)]


def documented() -> dict[str, dict[str, str]]:
    """Return the documented default of each key, by heading and key."""
    sections = re.split(r"^#+ `(.+)`$", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    rows = re.compile(r"^\| `(\w+)` \| (.+?) \|", re.MULTILINE)
    found = {heading: dict(rows.findall(body)) for heading, body in zip(sections[1::2], sections[2::2], strict=True)}
    of_services = [rows for heading, rows in found.items() if heading.startswith(ROUTES_OF)]
    found["[[routes]]"] = {key: text for some in (*of_services, found["[[routes]]"]) for key, text in some.items()}
    return found


def documented_for(service: str) -> dict[str, str]:
    """Return the documented default of each key of a route for a service, which may have a section of its own."""
    sections = documented()
    own = [rows for heading, rows in sections.items() if heading.startswith(ROUTES_OF) and service in heading.split()]
    return sections["[[routes]]"] | (own[0] if own else {})


def undocumented(services: Mapping[str, ServiceOptions]) -> list[tuple[str, str]]:
    """Return the keys that docs/configuration.md does not have, if these services are registered."""
    rows = documented()
    return [(heading, key) for heading, key in keys(services) if key not in rows.get(heading, {})]


def without(config: Config) -> Config:
    """Return the configuration without peers, routes and further listeners."""
    return attrs.evolve(config, path=None, peers={}, routes=(), listeners=config.listeners[:1])


def test_every_table_of_a_configuration_is_tested_here() -> None:
    assert {re.split(r"[\]\[.]+", heading)[1] for heading in CLASSES if heading not in OF_A_PEER} == {
        *TABLES,
        *(name for service in OPTIONS.values() for name in service.tables),
    }


def test_the_reference_can_be_loaded() -> None:
    config = load_config(REFERENCE)
    assert config.path == REFERENCE
    assert list(config.peers) == ["pacs", "vna", "ris"]


def test_the_reference_says_the_defaults() -> None:
    config = load_config(REFERENCE)
    assert without(config) == parse_config("", TOP)
    (peer,) = parse_config('[peers.pacs]\nae_title = "PACS"', TOP).peers.values()
    assert attrs.evolve(config.peers["pacs"], address=None) == peer
    assert attrs.evolve(peer, options=Options()) == Peer(name="pacs", ae_title="PACS")


@pytest.mark.parametrize(("heading", "key"), keys())
def test_every_key_stands_in_the_reference(heading: str, key: str) -> None:
    content = REFERENCE.read_text(encoding="utf-8").replace(f"# {BY_THE_VERSION}", BY_THE_VERSION)
    document = tomllib.loads(content)
    if heading in OF_A_PEER:
        tables = [peer.get(heading, {}) for peer in document["peers"].values()]
    else:
        first, *rest = re.findall(r"\w+", heading)
        found = document[first]
        for part in rest:
            found = found if part == "NAME" else found[part]
        tables = found if isinstance(found, list) else list(found.values()) if "NAME" in heading else [found]
    assert any(key in table for table in tables)


def test_every_key_is_documented() -> None:
    assert undocumented(OPTIONS) == []


def test_every_documented_key_exists() -> None:
    for heading, some in CLASSES.items():
        assert documented()[heading].keys() == {key for cls in some for key in readable(cls)}


@pytest.mark.parametrize("key", [*ASSOCIATION_KEYS, *SERVICE_KEYS])
def test_every_key_of_when_is_documented_and_in_the_reference(key: str) -> None:
    assert key in documented()["when"]
    assert any(condition.key == key for route in load_config(REFERENCE).routes for condition in route.when)


def test_the_documented_defaults_are_the_defaults() -> None:
    lines = []
    for heading in CLASSES:
        defaults = {key: text[1:-1] for key, text in documented()[heading].items() if text.startswith("`")}
        if heading in ("[[listeners]]", "[[routes]]"):
            continue
        name = "[peers.x]\nae_title = 'X'" if heading == "[peers.NAME]" else heading
        name = f"[peers.x.{heading}]" if heading in OF_A_PEER else name
        lines += [name, *(f"{key} = {text}" for key, text in defaults.items())]
    config = parse_config("\n".join(lines), TOP)
    assert without(config) == parse_config("", TOP)
    assert config.peers == parse_config("[peers.x]\nae_title = 'X'", TOP).peers


@pytest.mark.parametrize(
    ("service", "cls"), [(name, one.route) for name, one in OPTIONS.items() if one.route is not None]
)
def test_the_documented_defaults_of_a_route_are_the_defaults(service: str, cls: type[RouteOptions]) -> None:
    defaults = documented_for(service)
    written = "\n".join(f"{key} = {defaults[key][1:-1]}" for key in ("when", "final", *readable(cls)))
    peer = "[peers.x]\nae_title = 'X'\naddress = 'x:104'"
    (route,) = parse_config(f"{peer}\n[[routes]]\nname = 'r'\nservice = '{service}'\nto = 'x'\n{written}", TOP).routes
    assert route == Route(name="r", service=service, to=("x",), options=Options((cls(),)))


def test_required_keys_are_documented_as_required() -> None:
    required = {
        (heading, field.name)
        for heading, some in CLASSES.items()
        for cls in some
        for field in attrs.fields(cls)
        if field.default is attrs.NOTHING and field.name in readable(cls)
    }
    assert {
        (heading, key) for heading in CLASSES for key, text in documented()[heading].items() if text == "required"
    } == required


def test_the_examples_of_the_documentation_have_no_faults() -> None:
    for example in re.findall(r"```toml\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.DOTALL):
        parse_config(example, TOP)


@pytest.mark.parametrize("path", sorted((TOP / "examples").glob("*.toml")), ids=lambda path: path.name)
def test_the_example_files_have_no_faults(path: Path) -> None:
    load_config(path)
