"""A service brings its own keys of router.toml: a made-up one registers a key of each kind."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar

import pytest
from attrs import frozen

from router.config import Config, ConfigError, Peer, RouteOptions, ServiceAE, ServiceOptions, parse
from router.config.identifiers import one_of
from router.config.keys import AETitle, Flag, Wait
from router.config.load import TABLES
from router.config.quantities import between
from router.config.reading import One, readable
from router.services import OPTIONS
from tests.router.config.test_reference import undocumented


@frozen(kw_only=True)
class WorklistSettings:
    keep: Wait = 60.0


@frozen(kw_only=True)
class WorklistRouteOptions(RouteOptions):
    merge: Annotated[str, One(one_of("stream", "ordered"))] = "stream"
    limit: Annotated[int, One(between(1, 100))] = 10
    deadline: Wait = 30.0
    """A key that routes of another service have, too, with another default."""

    def faults(self, to: tuple[str, ...], config: Config) -> Iterator[tuple[str, str]]:
        if self.merge == "ordered" and len(to) < 2:
            yield "merge", "needs two peers"
        if self.deadline > config.timeouts.idle:
            yield "deadline", "is longer than timeouts.idle"


@frozen(kw_only=True)
class WorklistAE(ServiceAE):
    service: ClassVar[str] = "worklist"

    slow: Flag = False


@frozen(kw_only=True)
class WorklistPeerOptions:
    RENAMED: ClassVar = {"mwl": "worklist.ae_title"}

    worklist: WorklistAE = WorklistAE()
    station: AETitle = "ANY"


WORKLIST = ServiceOptions(route=WorklistRouteOptions, peer=WorklistPeerOptions, tables={"worklist": WorklistSettings})
SERVICES = {**OPTIONS, "worklist": WORKLIST}
RIS = '[peers.ris]\nae_title = "RIS"\naddress = "ris:104"\n'
ROUTE = '[[routes]]\nname = "r"\nservice = "worklist"\nto = "ris"\n'


def read(content: str) -> Config:
    return parse(content, Path(), services=SERVICES)


def faults(content: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        read(content)
    return [str(fault) for fault in raised.value.faults]


def test_keys_of_a_service_have_their_defaults() -> None:
    config = read(RIS + ROUTE)
    assert config.options[WorklistSettings] == WorklistSettings()
    assert config.peers["ris"].options[WorklistPeerOptions] == WorklistPeerOptions()
    assert config.routes[0].options.values == (WorklistRouteOptions(),)


def test_keys_of_a_service_are_read_by_its_classes() -> None:
    config = read(
        f'{RIS}station = "CT1"\nworklist = {{ ae_title = "RIS_MWL", slow = true }}\n'
        f'{ROUTE}limit = 5\ndeadline = "1m"\n[worklist]\nkeep = "5m"'
    )
    assert config.options[WorklistSettings].keep == 300
    assert config.peers["ris"].options[WorklistPeerOptions] == WorklistPeerOptions(
        station="CT1", worklist=WorklistAE(ae_title="RIS_MWL", slow=True)
    )
    assert config.routes[0].options[WorklistRouteOptions] == WorklistRouteOptions(limit=5, deadline=60)


def test_a_separate_ae_for_a_service_is_a_destination() -> None:
    config = read(f'{RIS}worklist = {{ ae_title = "RIS_MWL", address = "ris:105" }}\n')
    assert list(config.destinations) == ["ris", "ris:worklist"]
    assert config.destinations["ris:worklist"].ae_title == "RIS_MWL"
    assert str(config.destinations["ris:worklist"].address) == "ris:105"


def test_all_faults_of_registered_keys_are_reported_at_once() -> None:
    content = f"""
        {RIS}
        statoin = "CT1"
        mwl = "RIS_MWL"
        worklist = {{ slow = "yes" }}
        {ROUTE}
        merge = "ordered"
        limit = 0
        limt = 1
        deadline = "1h"
        answer = "ris"
        validation = "lax"
        [[routes]]
        name = "images"
        service = "storage"
        to = "ris"
        limit = 1000
        deadline = "1m"
        [worklist]
        kep = "1m"
        keep = "0s"
    """
    assert faults(content) == [
        'worklist.kep: there is no such key; did you mean "keep"?',
        'worklist.keep: must be longer than zero, not "0s"',
        'peers.ris.statoin: there is no such key; did you mean "station"?',
        "peers.ris.mwl: there is no such key: its name is worklist.ae_title now",
        'peers.ris.worklist.slow: must be true or false, without quotation marks, not "yes"',
        'routes["r"].limt: there is no such key; did you mean "limit"?',
        'routes["r"].answer: is a key of routes for mpps only',
        'routes["r"].validation: is a key of routes for mpps only',
        'routes["r"].validation: must be "lenient" or "strict", not "lax"',
        'routes["r"].limit: must be a whole number from 1 to 100, not 0',
        'routes["r"].merge: needs two peers',
        'routes["r"].deadline: is longer than timeouts.idle',
        'routes["images"].limit: is a key of routes for worklist only',
        'routes["images"].limit: must be a whole number from 1 to 100, not 1000',
        'routes["images"].deadline: is a key of routes for storage-commitment and worklist only',
    ]


def test_a_key_of_a_service_that_is_not_registered_is_unknown() -> None:
    with pytest.raises(ConfigError) as raised:
        parse(f"{RIS}station = 'CT1'\n{ROUTE}[worklist]", Path(), services=OPTIONS)
    assert [fault.path for fault in raised.value.faults] == [
        "worklist",
        "peers.ris.station",
        'routes["r"].service',
    ]


def test_the_reference_test_asks_for_the_documentation_of_registered_keys() -> None:
    assert undocumented(OPTIONS) == []
    assert undocumented(SERVICES) == [
        ("[worklist]", "keep"),
        ("[peers.NAME]", "worklist"),
        ("[peers.NAME]", "station"),
        ("worklist", "ae_title"),
        ("worklist", "address"),
        ("worklist", "slow"),
        ("[[routes]]", "merge"),
        ("[[routes]]", "limit"),
    ]


def test_no_two_services_register_the_same_table_or_the_same_key_of_a_peer() -> None:
    tables = [name for service in OPTIONS.values() for name in service.tables]
    keys = [key for service in OPTIONS.values() if service.peer is not None for key in readable(service.peer)]
    assert len(set(tables) | set(TABLES)) == len(tables) + len(TABLES)
    assert len(set(keys) | set(readable(Peer))) == len(keys) + len(readable(Peer))
