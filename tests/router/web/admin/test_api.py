"""The admin API as a client sees it: over HTTP, in front of a real spool."""

import http.client
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pydicom
import pytest
import trio
from attrs import define, field, frozen
from structlog.testing import capture_logs

from router.config import AdminSettings, Endpoint
from router.model import Envelope, Recipient, SpoolSettings
from router.services.conversations import Conversations
from router.services.mpps.intake import NotDiscarded
from router.services.retrieve.locate import Wanted
from router.services.retrieve.operator_fetch import NotFetched, TooManyFetches
from router.spool import QueueAction, Selection, Spool, StoredMessage
from router.state_store import StateStore
from router.web.admin.api import BODY_CAP, application
from router.web.admin.backend import RunningBackend
from router.web.admin.export import CHUNK
from router.web.admin.server import AdminServer
from tests.support.harness import eventually
from tests.support.objects import Instance, ct

ANY_PORT = Endpoint(host="127.0.0.1", port=0)
JSON = {"Content-Type": "application/json"}


@frozen
class Answer:
    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@define
class API:
    """A spool, and the API in front of it."""

    spool: Spool
    address: str = ""
    rescans: list[None] = field(factory=list)
    bug: str = ""
    fetched: list[tuple[Wanted, str | None]] = field(factory=list)

    async def status(self) -> dict[str, Any]:
        if self.bug:
            raise RuntimeError(self.bug)
        return {"destinations": {"pacs": {"actor_stage": "idle"}, "gone": {"actor_stage": "not configured"}}}

    async def discard_step(self, uid: str, reason: str) -> None:
        raise NotDiscarded("there is no such step")

    async def ask(self, method: str, path: str, body: bytes | None = None, headers: Any = None) -> Answer:
        return await trio.to_thread.run_sync(self._ask, method, path, body, headers or {})

    async def post(self, action: str, **selection: Any) -> Answer:
        return await self.ask("POST", f"/api/queue/{action}", json.dumps(selection).encode(), JSON)

    def _ask(self, method: str, path: str, body: bytes | None, headers: Any) -> Answer:
        connection = http.client.HTTPConnection(self.address, timeout=20)
        try:
            connection.request(method, path, body, headers)
            with connection.getresponse() as response:
                return Answer(response.status, response.read(), dict(response.getheaders()))
        finally:
            connection.close()

    async def put(self, instance: Instance, *destinations: str) -> int:
        incoming = self.spool.intake.incoming()
        await incoming.write(instance.data)
        await incoming.finish()
        envelope = Envelope(
            kind="C-STORE-RQ",
            command=b"",
            service="storage",
            abstract_syntax=instance.sop_class_uid,
            transfer_syntax=instance.transfer_syntax,
            sop_class_uid=instance.sop_class_uid,
            sop_instance_uid=instance.sop_instance_uid,
            calling_ae="CT1",
            called_ae="ROUTER",
            peer="127.0.0.1",
            received=0.0,
            deliveries=tuple(Recipient(destination=name) for name in destinations),
        )
        receipt = await self.spool.intake.store(incoming, envelope)
        for _ in destinations:
            self.spool.intake.recent.attempted(receipt.message_id)  # from now on it is read from the disk
        return receipt.message_id

    async def fetch(self, name: str, wanted: Wanted, to: str | None) -> int:
        if name == "busy":
            raise TooManyFetches("16 fetches run already")
        if name != "pacs" or to not in (None, "reader"):
            raise NotFetched(f"{name} or {to} is no peer")
        self.fetched.append((wanted, to))
        return 7


@asynccontextmanager
async def serving(folder: Path, settings: SpoolSettings | None = None) -> AsyncIterator[API]:
    settings = settings or SpoolSettings(segment_size=1 << 20, free_space_floor=0)
    spool = await trio.to_thread.run_sync(Spool.open, folder / "spool", settings)
    try:
        api = API(spool)
        state = StateStore.open(folder / "spool", spool)
        backend = RunningBackend(
            status=api.status,
            spool=spool,
            state=state,
            destinations=lambda: {"pacs"},
            discard_step=api.discard_step,
            conversations=Conversations(),
            fetch=api.fetch,
            cancel_fetch=lambda number: number == 7,
            rescan=lambda: api.rescans.append(None),
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(spool.run)
            server = await AdminServer.bind(AdminSettings(listen=ANY_PORT))
            nursery.start_soon(server.run, application(backend))
            api.address = str(server.bound)
            yield api
            nursery.cancel_scope.cancel()
        server.close()
        state.close()
    finally:
        spool.close()


@pytest.fixture
def api(tmp_path: Path) -> Callable[..., Any]:
    return partial(serving, tmp_path)


async def test_healthz_says_ok_while_the_spool_accepts(api: Any) -> None:
    async with api() as served:
        answer = await served.ask("GET", "/healthz")
        assert (answer.status, answer.json) == (200, {"status": "ok"})


async def test_healthz_says_why_when_the_spool_accepts_nothing(api: Any) -> None:
    async with api(SpoolSettings(free_space_floor=1 << 60)) as served:
        answer = await served.ask("GET", "/healthz")
        assert answer.status == 503
        assert "full" in answer.json["error"]


async def test_status_is_what_the_supervisor_says(api: Any) -> None:
    async with api() as served:
        assert (await served.ask("GET", "/api/status")).json == await served.status()


async def test_a_bug_is_answered_with_500_and_logged_with_its_traceback(api: Any) -> None:
    async with api() as served:
        served.bug = "the supervisor stumbled"
        with capture_logs() as logs:
            answer = await served.ask("GET", "/api/status")

            async def logged() -> bool:
                return bool(logs)

            await eventually(logged)
        assert (answer.status, list(answer.json)) == (500, ["error"])
        (event,) = (event for event in logs if event["event"] == "admin API failed")
        assert "the supervisor stumbled" in str(event["exc_info"])


async def test_pages_of_the_queue_visit_every_delivery_once_and_split_no_message(api: Any) -> None:
    async with api() as served:
        for _ in range(3):
            await served.put(ct(2000), "pacs", "vna", "research")
        seen, after = [], 0
        while after is not None:
            page = (await served.ask("GET", f"/api/queue?limit=2&after={after}")).json
            seen += [(one["message_id"], one["destination"]) for one in page["deliveries"]]
            after = page["next"]
        assert len(seen) == len(set(seen)) == 9
        assert seen == sorted(seen)


async def test_the_queue_is_filtered_by_state_and_destination(api: Any) -> None:
    async with api() as served:
        number = await served.put(ct(2000), "pacs", "vna")
        await served.post("hold", ids=[number], destination="vna")
        held = (await served.ask("GET", "/api/queue?state=held")).json["deliveries"]
        assert [one["destination"] for one in held] == ["vna"]
        to_pacs = (await served.ask("GET", "/api/queue?destination=pacs&state=held&state=waiting")).json["deliveries"]
        assert [one["state"] for one in to_pacs] == ["waiting"]


async def test_a_message_is_shown_with_all_its_deliveries_and_without_its_bytes(api: Any) -> None:
    async with api() as served:
        instance = ct(2000)
        number = await served.put(instance, "pacs", "vna")
        shown = (await served.ask("GET", f"/api/queue/{number}")).json
        assert shown["sop_instance_uid"] == instance.sop_instance_uid
        assert [one["destination"] for one in shown["deliveries"]] == ["pacs", "vna"]
        assert "command" not in shown


@pytest.mark.parametrize("path", ["/api/queue/77", "/api/queue/77/export", f"/api/queue/{2**80}", "/nothing/here"])
async def test_an_unknown_path_or_message_is_404_with_a_message(api: Any, path: str) -> None:
    async with api() as served:
        answer = await served.ask("GET", path)
        assert answer.status == 404
        assert answer.json["error"].startswith("there is no ")


@pytest.mark.parametrize("size", [2_000, 3_000_000], ids=["in one chunk", "in many, from a file of its own"])
async def test_an_export_is_a_file_of_part_10_around_the_bytes_that_came(api: Any, size: int) -> None:
    async with api() as served:
        instance = ct(size)
        number = await served.put(instance, "pacs")
        answer = await served.ask("GET", f"/api/queue/{number}/export")
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/dicom"
        assert answer.body.endswith(instance.data)
        meta = pydicom.dcmread(io.BytesIO(answer.body)).file_meta
        assert meta.TransferSyntaxUID == instance.transfer_syntax
        assert meta.MediaStorageSOPInstanceUID == instance.sop_instance_uid
        assert meta.SourceApplicationEntityTitle == "CT1"


async def test_a_client_that_disconnects_during_an_export_harms_no_other(api: Any) -> None:
    async with api() as served:
        number = await served.put(ct(20_000_000), "pacs")
        host, _, port = served.address.rpartition(":")
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            await stream.send_all(f"GET /api/queue/{number}/export HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert await stream.receive_some(1000)
        assert (await served.ask("GET", "/healthz")).status == 200


async def test_a_damaged_object_is_not_exported(api: Any, tmp_path: Path) -> None:
    async with api() as served:
        instance = ct(100_000)
        number = await served.put(instance, "pacs")
        segment = tmp_path / "spool" / "segments" / "00000001"
        content = bytearray(segment.read_bytes())
        content[content.index(instance.data) + 90_000] ^= 1
        segment.write_bytes(content)
        answer = await served.ask("GET", f"/api/queue/{number}/export")
        assert answer.status == 409
        assert answer.json["error"]


async def test_an_export_breaks_off_where_the_damage_shows_late(api: Any, tmp_path: Path) -> None:
    async with api() as served:
        number = await served.put(ct(3_000_000), "pacs")
        (large,) = (tmp_path / "spool" / "large").iterdir()
        content = bytearray(large.read_bytes())
        content[-1] ^= 1
        large.write_bytes(content)
        with pytest.raises(http.client.IncompleteRead), capture_logs() as logs:
            await served.ask("GET", f"/api/queue/{number}/export")
        assert (await served.ask("GET", "/healthz")).status == 200
    (event,) = (event for event in logs if event["event"] == "export broke off")
    assert (event["message_id"], "checksum" in event["why"]) == (number, True)


@pytest.mark.parametrize("size", [100_000, 600_000], ids=["in the first chunk", "later"])
async def test_an_export_whose_message_was_finished_meanwhile_says_so(
    api: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """The place of a finished message is used again: other bytes stand there before they have been read."""
    read_into = StoredMessage.read_into

    async with api() as served:
        instance = ct(size)
        number = await served.put(instance, "pacs")
        segment = tmp_path / "spool" / "segments" / "00000001"

        async def finished_meanwhile(self: StoredMessage, buffer: memoryview, offset: int) -> int:
            if offset + len(buffer) >= self.data_length > offset:
                assert await served.spool.queue.change(Selection(message_ids=(number,)), QueueAction.DISCARD) == 1
                content = bytearray(segment.read_bytes())
                at = content.index(instance.data)
                content[at + 40_000 : at + size] = bytes(size - 40_000)
                segment.write_bytes(content)
                monkeypatch.undo()
            return await read_into(self, buffer, offset)

        monkeypatch.setattr(StoredMessage, "read_into", finished_meanwhile)
        with capture_logs() as logs:
            if size < CHUNK:
                answer = await served.ask("GET", f"/api/queue/{number}/export")
                assert answer.status == 404
                assert "was finished meanwhile" in answer.json["error"]
            else:
                with pytest.raises(http.client.IncompleteRead):
                    await served.ask("GET", f"/api/queue/{number}/export")
                (event,) = (event for event in logs if event["event"] == "export broke off")
                assert "was finished meanwhile" in event["why"]
        assert served.spool.statistics().damaged == 0


async def test_every_change_is_told_to_the_destinations(api: Any) -> None:
    async with api() as served:
        number = await served.put(ct(2000), "pacs", "vna")
        for action, changed in (("hold", 2), ("hold", 0), ("release", 2), ("retry", 2), ("discard", 2), ("retry", 0)):
            answer = await served.post(action, ids=[number])
            assert answer.json == {"changed": changed}, action
        assert len(served.rescans) == 4


async def test_an_unrouted_message_is_sent_where_the_operator_says(api: Any) -> None:
    async with api() as served:
        number = await served.put(ct(2000))
        assert (await served.post("release", ids=[number])).json == {"changed": 0}
        for nowhere in ("gone", "unknown"):
            assert (await served.post("release", ids=[number], to=nowhere)).status == 400
        assert (await served.post("release", ids=[number], to="pacs")).json == {"changed": 1}
        shown = (await served.ask("GET", f"/api/queue/{number}")).json
        assert [(one["destination"], one["state"]) for one in shown["deliveries"]] == [("pacs", "waiting")]


@pytest.mark.parametrize(
    "selection",
    [
        {},
        {"all": False},
        {"all": "yes"},
        {"ids": []},
        {"ids": "1"},
        {"ids": [0]},
        {"ids": [True]},
        {"ids": [2**63]},
        {"ids": list(range(1, 10_002))},
        {"ids": [1], "colour": "red"},
        {"destination": 5},
        {"state": "lost"},
        {"state": 5},
        {"state": [["held"]]},
        {"ids": [1], "to": ""},
    ],
    ids=lambda selection: json.dumps(selection)[:30],
)
async def test_an_empty_or_invalid_selection_changes_nothing(api: Any, selection: Any) -> None:
    async with api() as served:
        await served.put(ct(2000), "pacs")
        answer = await served.post("discard", **selection)
        assert answer.status == 400
        assert answer.json["error"]
        assert (await served.ask("GET", "/api/queue?state=waiting")).json["deliveries"]


async def test_the_whole_queue_is_changed_only_with_all(api: Any) -> None:
    async with api() as served:
        for _ in range(3):
            await served.put(ct(2000), "pacs")
        assert (await served.post("hold", all=True)).json == {"changed": 3}


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b'{"ids": [1]}', {}, 415),
        (b'{"ids": [1]}', {"Content-Type": "text/plain"}, 415),
        (b"{", JSON, 400),
        (b"[]", JSON, 400),
        (b'{"destination": "\\ud800"}', JSON, 400),
        (b'{"ids": [1], "\\udfff": 1}', JSON, 400),
        (b'{"destination": "\xff"}', JSON, 400),
        (b"[" * 100_000, JSON, 400),
        (b" " * (BODY_CAP + 1), JSON, 413),
    ],
    ids=[
        "no type",
        "another type",
        "no JSON",
        "no object",
        "a lone surrogate",
        "a lone surrogate in a key",
        "no UTF-8",
        "endless nesting",
        "too long",
    ],
)
async def test_an_invalid_body_is_refused(api: Any, body: bytes, headers: Any, status: int) -> None:
    async with api() as served:
        answer = await served.ask("POST", "/api/queue/hold", body, headers)
        assert answer.status == status
        assert answer.json["error"]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "limit=-1", "after=x", "state=x", "limit=%D9%A3"]
)
async def test_a_query_out_of_its_limits_is_refused(api: Any, query: str) -> None:
    async with api() as served:
        answer = await served.ask("GET", f"/api/queue?{query}")
        assert answer.status == 400


@pytest.mark.parametrize(("method", "path", "status"), [("POST", "/api/status", 405), ("GET", "/api/queue/hold", 405)])
async def test_another_method_is_refused_with_a_message(api: Any, method: str, path: str, status: int) -> None:
    async with api() as served:
        answer = await served.ask(method, path)
        assert answer.status == status
        assert answer.json["error"]


async def test_an_unknown_action_is_404(api: Any) -> None:
    async with api() as served:
        assert (await served.post("explode", ids=[1])).status == 404


async def test_an_address_in_use_is_named(api: Any) -> None:
    async with api() as served:
        host, _, port = served.address.rpartition(":")
        with pytest.raises(OSError, match=served.address):
            await AdminServer.bind(AdminSettings(listen=Endpoint(host=host, port=int(port))))


async def test_a_fetch_is_begun_and_cancelled(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:

        async def post(path: str, body: Any) -> Answer:
            return await api.ask("POST", path, json.dumps(body).encode(), JSON)

        answer = await post("/api/retrieve", {"peer": "pacs", "patient": "P1", "studies": ["1.2", "1.3"]})
        assert answer.status == 200
        assert answer.json == {"conversation": 7}
        answer = await post("/api/retrieve", {"peer": "pacs", "studies": ["1.2"], "to": "reader"})
        assert answer.json == {"conversation": 7}
        assert api.fetched == [
            (Wanted(patient="P1", studies=("1.2", "1.3")), None),
            (Wanted(studies=("1.2",)), "reader"),
        ]
        assert (await post("/api/retrieve", {"peer": "busy", "studies": ["1.2"]})).status == 503
        wrong: list[Any] = [
            {"peer": "nobody", "patient": "P1"},
            {"peer": "pacs", "patient": "P1", "to": "nobody"},
            {"peer": "pacs", "patient": "P1", "to": ["reader"]},
            {"peer": "pacs"},
            {"peer": "pacs", "patient": 7},
            {"peer": "pacs", "studies": "1.2"},
            {"peer": "pacs", "studies": ["1.2"], "more": 1},
            [],
        ]
        for body in wrong:
            assert (await post("/api/retrieve", body)).status == 400, body
        assert (await post("/api/retrieve/cancel", {"conversation": 7})).json == {"cancelled": True}
        assert (await post("/api/retrieve/cancel", {"conversation": 8})).json == {"cancelled": False}
        assert (await post("/api/retrieve/cancel", {"conversation": "7"})).status == 400
