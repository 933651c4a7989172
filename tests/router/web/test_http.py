"""What the admin port is sent ends its own connection at most: DICOM goes on."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from router.dimse import Command, CommandField
from router.dimse import encode as encode_command
from router.web.admin import server
from tests.support.harness import IMPLICIT, VERIFICATION, Modality, RunningRouter, configuration, p_data, running_router

MUTATED = 2_000
"""Requests in one test."""

UPGRADE = (
    b"GET /api/status HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame of HTTP/2 (RFC 9113 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


PRIOR_KNOWLEDGE = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    + frame(4, 0, 0, b"")  # SETTINGS
    + frame(1, 4, 1, b"\x83D\x0f/api/queue/hold\x86A\tlocalhost")  # HEADERS: POST, of which the answer comes early
    + frame(0, 0, 1, b"data" * 100) * 20  # DATA behind it
)
H2C = (
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
)
POST = (
    b"POST /api/queue/hold HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b'Content-Length: 11\r\n\r\n{"all":true}'
)
CHUNKED = (
    b"POST /api/queue/hold HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    b'c\r\n{"all":true}\r\n0\r\n\r\n'
)
GETS = (
    "/api/status",
    "/api/queue?state=held&state=waiting&destination=pacs&limit=5&after=1",
    "/api/queue/1",
    "/api/queue/1/export",
    "/api/steps?stage=COMPLETED&limit=7&phi=1",
    "/api/steps/1.2.3?phi=1",
    "/api/commitments?before=5&limit=1",
    "/api/commitments/2.25.7",
    "/api/commitments/report?day=2026-02-28&after=3",
    "/api/commitments/report?study=1.2.3",
)
REQUESTS = (
    UPGRADE,
    PRIOR_KNOWLEDGE,
    H2C,
    POST,
    CHUNKED,
    b"GET /healthz HTTP/1.0\r\n\r\n",
    *(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for path in GETS),
)

C_ECHO = Command(field=CommandField.C_ECHO_RQ, message_id=1, affected_sop_class_uid=VERIFICATION, data_set_type=0x0101)


async def exchange(router: RunningRouter, request: bytes, *, half_close: bool = True) -> bytes:
    """Send this, say that nothing more comes, and hear the answer to its end."""
    host, _, port = router.admin.rpartition(":")
    answer = b""
    with trio.fail_after(20):
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            try:
                await stream.send_all(request)
                if half_close:
                    await stream.send_eof()
                while piece := await stream.receive_some():
                    answer += piece
            except trio.BrokenResourceError:
                pass
    return answer


async def echo(modality: Modality) -> int | None:
    await modality.say(p_data(1, encode_command(C_ECHO), command=True))
    return (await modality.response()).status


@pytest.mark.parametrize(
    ("request_", "status"),
    [(UPGRADE + b"x", 401), (UPGRADE, 401), (PRIOR_KNOWLEDGE, 505), (H2C, 200), (H2C + PRIOR_KNOWLEDGE, 200)],
    ids=["a websocket and a byte", "a websocket", "HTTP/2", "h2c", "h2c and HTTP/2"],
)
async def test_an_upgrade_is_ignored_and_does_not_end_the_router(tmp_path: Path, request_: bytes, status: int) -> None:
    async with running_router(configuration(tmp_path)) as router, Modality.connected(router.port) as modality:
        await modality.associate((VERIFICATION, (IMPLICIT,)))
        answer = await exchange(router, request_, half_close=False)
        assert int(answer.split()[1]) == status
        assert await echo(modality) == 0


def mutated(chance: random.Random, token: str) -> bytes:
    """One of the requests, mostly with the token, with one to four mistakes."""
    request = bytearray(chance.choice(REQUESTS))
    if chance.random() < 0.8:
        host = b"Host: localhost\r\n"
        request = request.replace(host, host + f"Authorization: Bearer {token}\r\n".encode())
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(min(len(request), chance.choice([40, 1000])) + 1)
        match chance.randrange(5):
            case 0:
                request[at : at + 1] = bytes([chance.randrange(33, 127)])
            case 1:
                del request[at : at + chance.randint(1, 20)]
            case 2:
                request[at:at] = chance.randbytes(chance.randint(1, 20))
            case 3:
                request[at:at] = request[at : at + chance.randint(1, 40)] * chance.randint(1, 5)
            case _:
                request[at:at] = chance.choice(INSERTED)
    return bytes(request)


INSERTED = (
    b"\r\n",
    b"\0",
    b":",
    b" ",
    b"%00",
    b"%ED%A0%80",
    b"&",
    b"-1",
    b"99999999999999999999",
    b"\r\n\r\n",
    b"\xff",
)


async def test_thousands_of_mutated_requests_harm_no_association(tmp_path: Path) -> None:
    chance = random.Random(9)
    echoes = 0
    with capture_logs() as logs:
        async with running_router(configuration(tmp_path)) as router, Modality.connected(router.port) as modality:
            await modality.associate((VERIFICATION, (IMPLICIT,)))
            token = (router.config.router.spool / "admin.token").read_text().strip()
            requests = iter([mutated(chance, token) for _ in range(MUTATED)])
            async with trio.open_nursery() as echoing:

                async def keep_echoing() -> None:
                    nonlocal echoes
                    while True:
                        assert await echo(modality) == 0
                        echoes += 1

                async def send_requests() -> None:
                    for request in requests:
                        answer = await exchange(router, request)
                        assert not answer or answer.startswith(b"HTTP/1.1 ")

                echoing.start_soon(keep_echoing)
                async with trio.open_nursery() as sending:
                    for _ in range(8):
                        sending.start_soon(send_requests)
                echoing.cancel_scope.cancel()
            status = await router.router.status()
    assert echoes
    assert (status["admin"]["failures"], status["admin"]["restarts"]) == (0, 0)
    assert not [event for event in logs if event["log_level"] in ("error", "critical")]


async def test_a_crashed_server_is_started_again_on_the_same_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve = trio.serve_listeners
    crashes = iter([RuntimeError("a bug"), ExceptionGroup("bugs", [ValueError("another")])])

    async def crash_at_first(*arguments: Any, **named: Any) -> None:
        for crash in crashes if not named else ():  # with names, these are the listeners of DICOM
            raise crash
        await serve(*arguments, **named)

    monkeypatch.setattr(trio, "serve_listeners", crash_at_first)
    monkeypatch.setattr("router.supervisor.restart.restarts", lambda: iter([0.0, 0.0, 0.0]))
    with capture_logs() as logs:
        async with running_router(configuration(tmp_path)) as router:
            answer = await exchange(router, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200")
            assert (await router.router.status())["admin"]["restarts"] == 2
    assert [event["event"] for event in logs].count("admin API crashed") == 2


async def test_one_request_is_answered_on_a_connection(tmp_path: Path) -> None:
    async with running_router(configuration(tmp_path)) as router:
        request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        answer = await exchange(router, request * 3, half_close=False)
        assert answer.count(b"HTTP/1.1 ") == 1
        assert b"\r\nconnection: close\r\n" in answer.lower()


async def test_head_has_the_head_of_get_and_no_body(tmp_path: Path) -> None:
    async with running_router(configuration(tmp_path)) as router:
        got = await exchange(router, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = await exchange(router, b"HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert head.endswith(b"\r\n\r\n")
        assert [line for line in head.splitlines() if b"length" in line] == [
            line for line in got.splitlines() if b"length" in line
        ]


async def test_expect_100_continue_is_answered_before_the_body(tmp_path: Path) -> None:
    async with running_router(configuration(tmp_path)) as router:
        token = (router.config.router.spool / "admin.token").read_text().strip().encode()
        head = b"Authorization: Bearer " + token + b"\r\nContent-Type: application/json\r\n"
        request = CHUNKED.replace(b"Transfer-", head + b"Transfer-")
        first, _, rest = (await exchange(router, request)).partition(b"\r\n\r\n")
        assert first.startswith(b"HTTP/1.1 100")
        assert json.loads(rest.partition(b"\r\n\r\n")[2]) == {"changed": 0}


async def test_a_request_that_is_not_http_is_refused_with_a_message(tmp_path: Path) -> None:
    async with running_router(configuration(tmp_path)) as router:
        answer = await exchange(router, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]


async def test_more_connections_than_are_served_at_a_time_are_closed_at_once(tmp_path: Path) -> None:
    async with running_router(configuration(tmp_path)) as router:
        host, _, port = router.admin.rpartition(":")
        streams = [await trio.open_tcp_stream(host, int(port)) for _ in range(server._CONNECTIONS)]
        assert await exchange(router, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n") == b""
        for stream in streams:
            await stream.aclose()
