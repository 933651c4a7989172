"""Host names: one look-up a host, a lane of its own, old answers while the name server is silent."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from router.association import NotConnected, RemoteAE
from router.association.connect import connect
from router.network.names import LIFE, PATIENCE, STALE_AFTER, NameLookup
from tests.support.harness import Archive, Modality, configuration, data_set, eventually, running_router, store_rq

ANSWER = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 104))]
QUESTION = (b"pacs.example", 104)


class NameServer:
    """In place of `socket.getaddrinfo`: every question waits until the test lets its answer go."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.error: OSError | None = None
        self.speaks = threading.Event()
        self.speaks.set()

    def __call__(self, host: Any, port: Any, *rest: Any) -> Any:
        if rest and rest[-1] & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "no IP address")
        self.asked.append(host)
        if not self.speaks.wait(60):
            raise AssertionError("the test has forgotten the name server")
        if self.error is not None:
            raise self.error
        return ANSWER


@pytest.fixture
def name_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    server = NameServer()
    monkeypatch.setattr(socket, "getaddrinfo", server)
    yield server
    server.speaks.set()


async def test_an_answer_is_kept_for_its_life_and_asked_for_again_after_it(
    name_server: NameServer, mock_clock: trio.testing.MockClock
) -> None:
    lookup = NameLookup()
    for seconds, asked in ((0, 1), (LIFE - 1, 1), (2, 2)):
        mock_clock.jump(seconds)
        assert await lookup.getaddrinfo(*QUESTION) == ANSWER
        assert len(name_server.asked) == asked


async def test_a_host_has_one_look_up_under_way_for_all_tasks(name_server: NameServer) -> None:
    lookup, answers = NameLookup(), []
    name_server.speaks.clear()

    async def ask() -> None:
        answers.append(await lookup.getaddrinfo(*QUESTION))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        name_server.speaks.set()
    assert answers == [ANSWER] * 5
    assert len(name_server.asked) == 1


async def test_a_look_up_that_is_given_up_serves_the_next_one(name_server: NameServer) -> None:
    lookup = NameLookup()
    name_server.speaks.clear()
    for _ in range(3):
        with trio.move_on_after(0.01):
            await lookup.getaddrinfo(*QUESTION)
    name_server.speaks.set()
    assert await lookup.getaddrinfo(*QUESTION) == ANSWER
    assert len(name_server.asked) == 1


async def test_an_older_answer_is_used_while_the_name_server_is_silent(
    name_server: NameServer, mock_clock: trio.testing.MockClock
) -> None:
    lookup = NameLookup()
    await lookup.getaddrinfo(*QUESTION)
    name_server.speaks.clear()
    mock_clock.jump(10 * LIFE)
    mock_clock.rate = 1000
    started = trio.current_time()
    assert await lookup.getaddrinfo(*QUESTION) == ANSWER
    assert trio.current_time() - started >= STALE_AFTER


@pytest.mark.parametrize(("number", "is_used"), [(socket.EAI_AGAIN, True), (socket.EAI_NONAME, False)])
async def test_an_older_answer_is_used_unless_the_name_server_says_that_there_is_no_such_host(
    number: int, is_used: bool, name_server: NameServer, mock_clock: trio.testing.MockClock
) -> None:
    lookup = NameLookup()
    await lookup.getaddrinfo(*QUESTION)
    mock_clock.jump(10 * LIFE)
    name_server.error = socket.gaierror(number, "as the test wants")
    if is_used:
        assert await lookup.getaddrinfo(*QUESTION) == ANSWER
    else:
        with pytest.raises(socket.gaierror):
            await lookup.getaddrinfo(*QUESTION)


async def test_a_silent_name_server_is_named_as_the_cause(
    name_server: NameServer, mock_clock: trio.testing.MockClock
) -> None:
    name_server.speaks.clear()
    mock_clock.rate = 1000
    trio.socket.set_custom_hostname_resolver(NameLookup())
    with pytest.raises(NotConnected, match="the name server does not answer"):
        await connect(target("pacs.example"), PATIENCE + 1000)


async def test_a_text_that_cannot_be_a_host_name_is_unreachable() -> None:
    with pytest.raises(NotConnected, match="cannot be a host name"):
        await connect(target("pacs..local"), 5)


def target(host: str) -> RemoteAE:
    return RemoteAE(
        host=host,
        port=104,
        called_ae="PACS",
        calling_ae="ROUTER",
        maximum_pdu_length=16384,
        implementation_class_uid="1.2.3",
        implementation_version_name="X",
    )


@contextmanager
def silent_for(monkeypatch: pytest.MonkeyPatch, concerns: Callable[[str], bool]) -> Iterator[list[str]]:
    """A name server that says nothing about some hosts while the block lasts; yields what it was asked."""
    real, released, asked = socket.getaddrinfo, threading.Event(), list[str]()

    def getaddrinfo(host: Any, port: Any, *arguments: Any, **named: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else str(host)
        flags = named.get("flags", arguments[3] if len(arguments) > 3 else 0)
        if concerns(name) and not flags & socket.AI_NUMERICHOST:
            asked.append(name)
            released.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real(host, port, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    try:
        yield asked
    finally:
        released.set()


async def test_45_destinations_and_a_silent_name_server_slow_no_reception(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = "".join(f'[peers.p{i}]\nae_title = "P{i}"\naddress = "pacs{i}.example:104"\n' for i in range(45))
    everywhere = ", ".join(f'"p{i}"' for i in range(45))
    route = f'[[routes]]\nname = "all"\nservice = "storage"\nto = ["pacs", {everywhere}]\n'
    with silent_for(monkeypatch, lambda name: name.startswith("pacs")) as asked:
        async with Archive().serving() as archive:
            config = configuration(tmp_path, peers + route, pacs=archive.port)
            async with running_router(config) as router, Modality.connected(router.port) as modality:
                await modality.associate()
                assert (await modality.store(store_rq("1.2.3"), data_set("1.2.3"))).status == 0
                await archive.received(1)
                await eventually(lambda: len(asked) >= 10)
                started = trio.current_time()
                assert (await modality.store(store_rq("1.2.4"), data_set("1.2.4", size=2 << 20))).status == 0
                await archive.received(2)
                seconds = trio.current_time() - started
    print(f"2 MiB C-STORE and its delivery beside {len(asked)} silent look-ups: {seconds:.2f} s")
    assert seconds < 5
    assert len(asked) == len(set(asked))
