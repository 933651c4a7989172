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
class TrackingSettings:
    keep: Wait = 60.0


@frozen(kw_only=True)
class TrackingRouteOptions(RouteOptions):
    order: Annotated[str, One(one_of("stream", "ordered"))] = "stream"
    quota: Annotated[int, One(between(1, 100))] = 10
    grace: Wait = 30.0
    """A key that routes of another service have, too, with another default."""

    def faults(self, to: tuple[str, ...], config: Config) -> Iterator[tuple[str, str]]:
        if self.order == "ordered" and len(to) < 2:
            yield "order", "needs two peers"
        if self.grace > config.timeouts.idle:
            yield "grace", "is longer than timeouts.idle"


@frozen(kw_only=True)
class TrackingAE(ServiceAE):
    service: ClassVar[str] = "tracking"

    slow: Flag = False


@frozen(kw_only=True)
class TrackingPeerOptions:
    RENAMED: ClassVar = {"mwl": "tracking.ae_title"}

    tracking: TrackingAE = TrackingAE()
    station: AETitle = "ANY"


TRACKING = ServiceOptions(route=TrackingRouteOptions, peer=TrackingPeerOptions, tables={"tracking": TrackingSettings})
SERVICES = {**OPTIONS, "tracking": TRACKING}
RIS = '[peers.ris]\nae_title = "RIS"\naddress = "ris:104"\n'
ROUTE = '[[routes]]\nname = "r"\nservice = "tracking"\nto = "ris"\n'


def read(content: str) -> Config:
    return parse(content, Path(), services=SERVICES)


def faults(content: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        read(content)
    return [str(fault) for fault in raised.value.faults]


def test_keys_of_a_service_have_their_defaults() -> None:
    config = read(RIS + ROUTE)
    assert config.options[TrackingSettings] == TrackingSettings()
    assert config.peers["ris"].options[TrackingPeerOptions] == TrackingPeerOptions()
    assert config.routes[0].options.values == (TrackingRouteOptions(),)


def test_keys_of_a_service_are_read_by_its_classes() -> None:
    config = read(
        f'{RIS}station = "CT1"\ntracking = {{ ae_title = "RIS_MWL", slow = true }}\n'
        f'{ROUTE}quota = 5\ngrace = "1m"\n[tracking]\nkeep = "5m"'
    )
    assert config.options[TrackingSettings].keep == 300
    assert config.peers["ris"].options[TrackingPeerOptions] == TrackingPeerOptions(
        station="CT1", tracking=TrackingAE(ae_title="RIS_MWL", slow=True)
    )
    assert config.routes[0].options[TrackingRouteOptions] == TrackingRouteOptions(quota=5, grace=60)


def test_a_separate_ae_for_a_service_is_a_destination() -> None:
    config = read(f'{RIS}tracking = {{ ae_title = "RIS_MWL", address = "ris:105" }}\n')
    assert list(config.destinations) == ["ris", "ris:tracking"]
    assert config.destinations["ris:tracking"].ae_title == "RIS_MWL"
    assert str(config.destinations["ris:tracking"].address) == "ris:105"


def test_all_faults_of_registered_keys_are_reported_at_once() -> None:
    content = f"""
        {RIS}
        statoin = "CT1"
        mwl = "RIS_MWL"
        tracking = {{ slow = "yes" }}
        {ROUTE}
        order = "ordered"
        quota = 0
        quta = 1
        grace = "1h"
        answer = "ris"
        validation = "lax"
        [[routes]]
        name = "images"
        service = "storage"
        to = "ris"
        quota = 1000
        grace = "1m"
        [tracking]
        kep = "1m"
        keep = "0s"
    """
    assert faults(content) == [
        'tracking.kep: there is no such key; did you mean "keep"?',
        'tracking.keep: must be longer than zero, not "0s"',
        'peers.ris.statoin: there is no such key; did you mean "station"?',
        "peers.ris.mwl: there is no such key: its name is tracking.ae_title now",
        'peers.ris.tracking.slow: must be true or false, without quotation marks, not "yes"',
        'routes["r"].quta: there is no such key; did you mean "quota"?',
        'routes["r"].answer: is a key of routes for mpps only',
        'routes["r"].validation: is a key of routes for mpps only',
        'routes["r"].validation: must be "lenient" or "strict", not "lax"',
        'routes["r"].quota: must be a whole number from 1 to 100, not 0',
        'routes["r"].order: needs two peers',
        'routes["r"].grace: is longer than timeouts.idle',
        'routes["images"].quota: is a key of routes for tracking only',
        'routes["images"].quota: must be a whole number from 1 to 100, not 1000',
        'routes["images"].grace: is a key of routes for storage-commitment and tracking only',
    ]


def test_a_key_of_a_service_that_is_not_registered_is_unknown() -> None:
    with pytest.raises(ConfigError) as raised:
        parse(f"{RIS}station = 'CT1'\n{ROUTE}[tracking]", Path(), services=OPTIONS)
    assert [fault.path for fault in raised.value.faults] == [
        "tracking",
        "peers.ris.station",
        'routes["r"].service',
    ]


def test_the_reference_test_asks_for_the_documentation_of_registered_keys() -> None:
    assert undocumented(OPTIONS) == []
    assert undocumented(SERVICES) == [
        ("[tracking]", "keep"),
        ("[peers.NAME]", "tracking"),
        ("[peers.NAME]", "station"),
        ("tracking", "ae_title"),
        ("tracking", "address"),
        ("tracking", "slow"),
        ("[[routes]]", "order"),
        ("[[routes]]", "quota"),
    ]


def test_no_two_services_register_the_same_table_or_the_same_key_of_a_peer() -> None:
    tables = [name for service in OPTIONS.values() for name in service.tables]
    keys = [key for service in OPTIONS.values() if service.peer is not None for key in readable(service.peer)]
    assert len(set(tables) | set(TABLES)) == len(tables) + len(TABLES)
    assert len(set(keys) | set(readable(Peer))) == len(keys) + len(readable(Peer))
