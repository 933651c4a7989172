"""router.toml and docs/configuration.md are the reference: neither can fall behind the configuration."""

import re
import tomllib
from pathlib import Path

import attrs
import pytest

from router.config import (
    TLS,
    AccessSettings,
    AdminSettings,
    CommitmentSettings,
    Config,
    Limits,
    Listener,
    Peer,
    PeerCommitment,
    Retry,
    Route,
    RouterSettings,
    Statuses,
    StorageSettings,
    Timeouts,
    Verification,
    load,
    parse,
)
from router.config.conditions import ASSOCIATION_KEYS
from router.config.load import TABLES
from router.config.reading import readable
from router.config.values import MPPSSettings, SpoolTable

TOP = Path(__file__).parents[3]
REFERENCE = TOP / "router.toml"
DOCS = TOP / "docs" / "configuration.md"

CLASSES: dict[str, type[attrs.AttrsInstance]] = {
    "[router]": RouterSettings,
    "[[listeners]]": Listener,
    "[timeouts]": Timeouts,
    "[limits]": Limits,
    "[access]": AccessSettings,
    "[statuses]": Statuses,
    "[verification]": Verification,
    "[storage]": StorageSettings,
    "[commitment]": CommitmentSettings,
    "[mpps]": MPPSSettings,
    "[spool]": SpoolTable,
    "[admin]": AdminSettings,
    "[admin.tls]": TLS,
    "[peers.NAME]": Peer,
    "retry": Retry,
    "commitment": PeerCommitment,
    "[[routes]]": Route,
}
"""Every table of a configuration, by its heading in the documentation."""
OF_A_PEER = ("retry", "commitment")
"""Tables within [peers.NAME]."""

BY_THE_VERSION = "implementation_version_name"
"""The one key that stands in the reference as a comment, because its default changes with every version."""


def keys() -> list[tuple[str, str]]:
    return [(heading, key) for heading, cls in CLASSES.items() for key in readable(cls)]


def documented() -> dict[str, dict[str, str]]:
    """From heading to key to the default as it is documented."""
    sections = re.split(r"^#+ `(.+)`$", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    rows = re.compile(r"^\| `(\w+)` \| (.+?) \|", re.MULTILINE)
    return {heading: dict(rows.findall(body)) for heading, body in zip(sections[1::2], sections[2::2], strict=True)}


def without(config: Config) -> Config:
    """What a file that says nothing but defaults gives: no peers, no routes, no further listeners."""
    return attrs.evolve(config, path=None, peers={}, routes=(), listeners=config.listeners[:1])


def test_every_table_of_a_configuration_is_looked_at_here() -> None:
    assert {re.split(r"[\]\[.]+", heading)[1] for heading in CLASSES if heading not in OF_A_PEER} == set(TABLES)


def test_the_reference_is_loaded() -> None:
    config = load(REFERENCE)
    assert config.path == REFERENCE
    assert list(config.peers) == ["pacs", "vna", "ris"]


def test_the_reference_says_the_defaults() -> None:
    config = load(REFERENCE)
    assert without(config) == parse("", TOP)
    assert attrs.evolve(config.peers["pacs"], ae_title="", address=None, name="") == Peer(name="", ae_title="")


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


@pytest.mark.parametrize(("heading", "key"), keys())
def test_every_key_is_documented(heading: str, key: str) -> None:
    assert key in documented()[heading]


def test_no_key_is_documented_that_there_is_not() -> None:
    for heading, cls in CLASSES.items():
        assert documented()[heading].keys() == readable(cls).keys()


@pytest.mark.parametrize("key", list(ASSOCIATION_KEYS))
def test_every_key_of_when_is_documented_and_in_the_reference(key: str) -> None:
    assert key in documented()["when"]
    assert any(condition.key == key for route in load(REFERENCE).routes for condition in route.when)


def test_the_documented_defaults_are_the_defaults() -> None:
    lines = []
    for heading in CLASSES:
        defaults = {key: text[1:-1] for key, text in documented()[heading].items() if text.startswith("`")}
        if heading in ("[[listeners]]", "[[routes]]"):
            continue
        name = "[peers.x]\nae_title = 'X'" if heading == "[peers.NAME]" else heading
        name = f"[peers.x.{heading}]" if heading in OF_A_PEER else name
        lines += [name, *(f"{key} = {text}" for key, text in defaults.items())]
    config = parse("\n".join(lines), TOP)
    assert without(config) == parse("", TOP)
    assert config.peers["x"] == Peer(name="x", ae_title="X")


def test_a_default_is_documented_for_all_that_have_one() -> None:
    required = {
        (heading, field.name)
        for heading, cls in CLASSES.items()
        for field in attrs.fields(cls)
        if field.default is attrs.NOTHING and field.name in readable(cls)
    }
    assert {
        (heading, key) for heading in CLASSES for key, text in documented()[heading].items() if text == "required"
    } == required


def test_the_examples_of_the_documentation_are_faultless() -> None:
    for example in re.findall(r"```toml\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.DOTALL):
        parse(example, TOP)


@pytest.mark.parametrize("path", sorted((TOP / "examples").glob("*.toml")), ids=lambda path: path.name)
def test_the_example_files_are_faultless(path: Path) -> None:
    load(path)
