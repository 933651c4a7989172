"""Query over several archives: what the client sees, whatever the archives do."""

from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from router.config import Config
from router.dicom.dataset import DataSet
from router.dicom.information_models import PATIENT_ROOT
from router.dimse import Status
from router.services.query.identifier import ACCEPTED_SYNTAXES
from tests.support.find_client import find_client
from tests.support.harness import configuration, eventually, running_router
from tests.support.ports import free_port
from tests.support.query_archive import QueryArchive, Script, answering, record, until_cancelled

LEVEL, STUDY_UID, PATIENT_ID, ISSUER, NAME = 0x00080052, 0x0020000D, 0x00100020, 0x00100021, 0x00100010
RETRIEVE_AE, MODALITIES, COUNT, AVAILABILITY = 0x00080054, 0x00080061, 0x00201208, 0x00080056

KEYS = record({LEVEL: "STUDY", STUDY_UID: "", NAME: "", PATIENT_ID: ""})


def study(number: int, **more: Any) -> DataSet:
    values = {STUDY_UID: f"1.2.{number}", NAME: f"N{number}", PATIENT_ID: f"P{number}"}
    return record({**values, **{int(tag[1:], 16): value for tag, value in more.items()}})


def studies(numbers: Iterable[int], **more: Any) -> list[DataSet]:
    return [study(number, **more) for number in numbers]


def router_over(folder: Path, archives: dict[str, int], route: str = "", text: str = "") -> Config:
    """A router whose queries go to all of these archives."""
    to = ", ".join(f'"{name}"' for name in archives)
    routes = f'[[routes]]\nname = "queries"\nservice = "query"\nto = [{to}]\n{route}\n{text}'
    return configuration(folder, routes, router="", **archives)


class TwoArchives:
    """A router over two scripted archives, "one" and "two"."""

    def __init__(self, folder: Path, one: Script, two: Script, route: str = "", text: str = "") -> None:
        self.one, self.two = QueryArchive(find=one), QueryArchive(find=two)
        self._arguments = folder, route, text

    async def __aenter__(self) -> "TwoArchives":
        self._stack = AsyncExitStack()
        await self._stack.__aenter__()
        for archive in (self.one, self.two):
            await self._stack.enter_async_context(archive.serving())
        folder, route, text = self._arguments
        config = router_over(folder, {"one": self.one.port, "two": self.two.port}, route, text)
        self.router = await self._stack.enter_async_context(running_router(config))
        return self

    async def __aexit__(self, *error: Any) -> bool | None:
        return await self._stack.__aexit__(*error)


@pytest.mark.parametrize("merge", ["stream", "ordered"])
async def test_the_matches_are_the_union_and_each_comes_once(tmp_path: Path, merge: str) -> None:
    one, two = studies(range(40)), studies(range(30, 60))
    async with TwoArchives(tmp_path, answering(*one), answering(*two), f'merge = "{merge}"') as world:
        async with find_client(world.router.port) as client:
            found = await client.find(KEYS)
    uids = found.values(STUDY_UID)
    assert found.final.status == Status.SUCCESS
    assert sorted(uids) == sorted(f"1.2.{number}" for number in range(60))
    assert merge == "stream" or uids == sorted(uids)
    assert set(found.values(RETRIEVE_AE)) == {"ROUTER"}
    assert set(found.values(LEVEL)) == {"STUDY"}
    for _, match in found.matches:
        number = match[STUDY_UID].value.decode().strip("\0").removeprefix("1.2.")  # type: ignore[union-attr]
        assert match[PATIENT_ID].value.decode().strip() == f"P{number}"  # type: ignore[union-attr]


@pytest.mark.parametrize("syntax", ACCEPTED_SYNTAXES)
async def test_every_transfer_syntax_of_identifiers_is_accepted(tmp_path: Path, syntax: str) -> None:
    async with TwoArchives(tmp_path, answering(study(1)), answering(study(2))) as world:
        async with find_client(world.router.port, syntax=syntax) as client:
            found = await client.find(KEYS)
    assert sorted(found.values(STUDY_UID)) == ["1.2.1", "1.2.2"]


@pytest.mark.parametrize("failure", ["silence", "abort", "close", (0xA700, None), (0xC123, None), (0xFE00, None)])
@pytest.mark.parametrize("partial", ["fail", "success"])
async def test_an_archive_that_does_not_finish_is_named_or_allowed_to_be_missing(
    tmp_path: Path, failure: Any, partial: str
) -> None:
    route = f'partial = "{partial}"\nbetween_answers = "300ms"'
    two = answering(*studies(range(10, 13)), final=failure)
    async with TwoArchives(tmp_path, answering(*studies(range(3))), two, route) as world:
        async with find_client(world.router.port) as client:
            found = await client.find(KEYS)
    assert len(found.matches) == 6
    if partial == "success":
        assert found.final.status == Status.SUCCESS
    else:
        assert found.final.status == 0xC001
        assert "two" in (found.final.command.error_comment or "")


@pytest.mark.parametrize("partial", ["fail", "success"])
async def test_an_archive_that_is_not_there_is_named_or_allowed_to_be_missing(tmp_path: Path, partial: str) -> None:
    async with QueryArchive(find=answering(*studies(range(3)))).serving() as one:
        config = router_over(tmp_path, {"one": one.port, "two": free_port()}, f'partial = "{partial}"')
        async with running_router(config) as router, find_client(router.port) as client:
            found = await client.find(KEYS)
    assert len(found.matches) == 3
    assert found.final.status == (Status.SUCCESS if partial == "success" else 0xC001)


async def test_an_archive_that_refuses_the_context_is_named(tmp_path: Path) -> None:
    async with TwoArchives(tmp_path, answering(study(1)), answering(study(2))) as world:
        world.two.accepts = lambda context: False
        async with find_client(world.router.port) as client:
            found = await client.find(KEYS)
    assert found.values(STUDY_UID) == ["1.2.1"]
    assert (found.final.status, "two" in str(found.final.command.error_comment)) == (0xC001, True)


async def test_no_answer_at_all_is_a_failure_even_if_answers_may_be_partial(tmp_path: Path) -> None:
    config = router_over(tmp_path, {"one": free_port(), "two": free_port()}, 'partial = "success"')
    async with running_router(config) as router, find_client(router.port) as client:
        assert (await client.find(KEYS)).final.status == 0xC001


async def test_the_failure_of_the_only_archive_is_passed_on(tmp_path: Path) -> None:
    async with QueryArchive(find=answering(final=(0xA900, None))).serving() as archive:
        config = router_over(tmp_path, {"one": archive.port})
        async with running_router(config) as router, find_client(router.port) as client:
            assert (await client.find(KEYS)).final.status == 0xA900


async def test_past_the_limit_the_answer_is_a700_and_every_archive_is_cancelled(tmp_path: Path) -> None:
    async with TwoArchives(tmp_path, until_cancelled, until_cancelled, "limit = 50") as world:
        async with find_client(world.router.port) as client:
            found = await client.find(KEYS)
        assert len(found.matches) == 50
        assert found.final.status == 0xA700
        assert len(world.one.cancels) == len(world.two.cancels) == 1


async def test_as_many_matches_as_the_limit_are_a_success(tmp_path: Path) -> None:
    async with TwoArchives(tmp_path, answering(*studies(range(5))), answering(study(1)), "limit = 5") as world:
        async with find_client(world.router.port) as client:
            found = await client.find(KEYS)
    assert (len(found.matches), found.final.status) == (5, Status.SUCCESS)


async def test_a_cancel_reaches_every_archive_and_nothing_is_sent_after_it(tmp_path: Path) -> None:
    async with TwoArchives(tmp_path, until_cancelled, until_cancelled, "limit = 1000000") as world:
        async with find_client(world.router.port) as client:
            invocation = await client.begin(KEYS)
            for _ in range(20):
                await anext(invocation)
            cancelled = trio.current_time()
            await invocation.cancel()
            found = await client.read(invocation)
        assert found.final.status == Status.CANCEL
        for archive in (world.one, world.two):
            assert len(archive.cancels) == 1
            assert archive.cancels[0] - cancelled < 1.0


@pytest.mark.parametrize("how", ["abort", "close"])
async def test_a_client_that_is_gone_cancels_the_archives(tmp_path: Path, how: str) -> None:
    async with TwoArchives(tmp_path, until_cancelled, until_cancelled, "limit = 1000000") as world:
        async with find_client(world.router.port) as client:
            invocation = await client.begin(KEYS)
            await anext(invocation)
            if how == "close":
                client.association.close()
        await eventually(lambda: len(world.one.cancels) == len(world.two.cancels) == 1)


async def test_a_client_that_does_not_read_holds_the_archives_back(tmp_path: Path) -> None:
    wide = record({LEVEL: "STUDY", 0x00104000: "x" * 2000})
    many = answering(*({**wide, **study(number)} for number in range(20_000)))
    async with TwoArchives(tmp_path, many, answering(), "limit = 100000") as world:
        async with find_client(world.router.port) as client:
            invocation = await client.begin({**KEYS, **record({0x00104000: ""})})
            await anext(invocation)
            before = -1

            async def is_held_back() -> bool:
                nonlocal before
                before, same = world.one.sent, world.one.sent == before
                await trio.sleep(0.2)
                return same

            await eventually(is_held_back)
            assert world.one.sent < 20_000


async def test_ff01_of_an_archive_is_passed_on_and_its_matches_are_filtered(tmp_path: Path) -> None:
    keys = {**KEYS, **record({NAME: "n1*"})}
    one = answering(*studies((1, 2, 12)), pending=Status.PENDING_WITH_WARNING)
    async with TwoArchives(tmp_path, one, answering(study(100))) as world:
        async with find_client(world.router.port) as client:
            found = await client.find(keys)
    by_uid = {uid: status for uid, (status, _) in zip(found.values(STUDY_UID), found.matches, strict=True)}
    assert by_uid == {"1.2.1": 0xFF01, "1.2.12": 0xFF01, "1.2.100": 0xFF00}


async def test_a_client_that_knows_ff00_only_gets_it(tmp_path: Path) -> None:
    one = answering(study(1), pending=Status.PENDING_WITH_WARNING)
    text = '[query]\nplain_pending = "CLIENT"'
    async with TwoArchives(tmp_path, one, answering(), text=text) as world:
        async with find_client(world.router.port) as client:
            assert (await client.find(KEYS)).statuses == {0xFF00}


async def test_patients_of_two_issuers_stay_two_and_the_issuer_is_not_sent_unasked(tmp_path: Path) -> None:
    def patient(name: str, issuer: str) -> DataSet:
        return record({NAME: name, PATIENT_ID: "1", ISSUER: issuer})

    keys = record({LEVEL: "PATIENT", PATIENT_ID: "", NAME: ""})
    two = answering(patient("C", "B"), patient("D", "A"))
    async with TwoArchives(tmp_path, answering(patient("A", "A")), two, 'merge = "ordered"') as world:
        async with find_client(world.router.port, PATIENT_ROOT.find) as client:
            found = await client.find(keys)
        assert ISSUER in world.one.queries[0].identifier
    assert found.values(NAME) == ["A", "C"]
    assert all(ISSUER not in match for _, match in found.matches)


async def test_in_order_modalities_counts_and_availability_are_of_all_answers(tmp_path: Path) -> None:
    one = study(1, x00080061="CT\\SR", x00201208="7", x00080056="NEARLINE")
    two = study(1, x00080061="CT\\MR", x00201208="12", x00080056="ONLINE", x00100010="Other")
    async with TwoArchives(tmp_path, answering(one), answering(two), 'merge = "ordered"') as world:
        async with find_client(world.router.port) as client:
            found = await client.find({**KEYS, **record({MODALITIES: "", COUNT: "", AVAILABILITY: ""})})
    assert found.values(MODALITIES) == ["CT\\SR\\MR"]
    assert found.values(COUNT) == ["12"]
    assert found.values(AVAILABILITY) == ["NEARLINE"]
    assert found.values(NAME) == ["N1"]


@pytest.mark.parametrize(
    ("keys", "element"),
    [
        (record({PATIENT_ID: "1"}), LEVEL),
        (record({LEVEL: "PATIENT"}), LEVEL),
        (record({LEVEL: "SERIES"}), STUDY_UID),
        (record({LEVEL: "STUDY", STUDY_UID: "1.2*"}), STUDY_UID),
    ],
)
async def test_an_identifier_that_does_not_match_its_class_is_a900_with_the_element(
    tmp_path: Path, keys: DataSet, element: int
) -> None:
    async with TwoArchives(tmp_path, answering(), answering()) as world:
        async with find_client(world.router.port) as client:
            found = await client.find(keys)
        assert found.final.status == 0xA900
        assert found.final.command.offending_element == (element,)
        assert not world.one.associations


async def test_who_may_not_query_is_told_before_any_archive_is_asked(tmp_path: Path) -> None:
    text = '[query]\ncalling_ae = "CT*"'
    async with TwoArchives(tmp_path, answering(), answering(), text=text) as world:
        async with find_client(world.router.port) as client:
            assert (await client.find(KEYS)).final.status == 0x0124
        assert not world.one.associations


async def test_who_may_not_query_is_refused_the_context_if_the_site_wants_it(tmp_path: Path) -> None:
    text = '[query]\ncalling_ae = "CT*"\ndenied = "context"'
    async with TwoArchives(tmp_path, answering(), answering(), text=text) as world:
        async with find_client(world.router.port) as client:
            assert not client.association.contexts


async def test_a_route_is_chosen_by_model_level_and_keys(tmp_path: Path) -> None:
    async with QueryArchive(find=answering(study(1))).serving() as one, QueryArchive().serving() as two:
        text = """
        [[routes]]
        name = "ids of A"
        service = "query"
        when = { information_model = "study", level = "STUDY", PatientID = "A*" }
        to = "one"
        [[routes]]
        name = "series"
        service = "query"
        when = { level = ["SERIES", "IMAGE"] }
        to = "two"
        """
        config = configuration(tmp_path, text, one=one.port, two=two.port)
        async with running_router(config) as router, find_client(router.port) as client:
            found = await client.find({**KEYS, **record({PATIENT_ID: "A1"})})
            assert (len(found.matches), len(two.queries)) == (1, 0)
            found = await client.find(record({LEVEL: "SERIES", STUDY_UID: "1.2"}))
            assert (found.final.status, len(two.queries)) == (Status.SUCCESS, 1)
            assert (await client.find(KEYS)).final.status == 0xC001


async def test_one_line_says_what_each_archive_did_without_the_keys(tmp_path: Path) -> None:
    route = 'first_answer = "200ms"\nbetween_answers = "200ms"'
    two = answering(*studies(range(2)), final="silence")
    with capture_logs() as logs:
        async with TwoArchives(tmp_path, answering(*studies(range(3))), two, route) as world:
            async with find_client(world.router.port) as client:
                await client.find({**KEYS, **record({NAME: "Secret*"})})
    (line,) = [one for one in logs if one["event"] == "conversation"]
    assert line["what"] == "C-FIND STUDY (Study Root)"
    archives = line["archives"]
    assert (archives["one"]["asked"], archives["one"]["matches"]) == (1, 3)
    assert archives["two"]["cause"] == "silent for 0.2 s after 2 matches"
    assert archives["one"]["duplicates"] + archives["two"]["duplicates"] == 2
    assert "Secret" not in str(logs)


@pytest.mark.parametrize(("keys", "status"), [((PATIENT_ID, NAME), 0xFF00), ((PATIENT_ID, NAME, 0x00100040), 0xFF01)])
async def test_ff01_for_a_key_that_only_the_router_asked_for_is_not_told(
    tmp_path: Path, keys: tuple[int, ...], status: int
) -> None:
    patient = record({PATIENT_ID: "1", NAME: "A"})
    one = answering(patient, pending=Status.PENDING_WITH_WARNING)
    async with TwoArchives(tmp_path, one, answering()) as world:
        async with find_client(world.router.port, PATIENT_ROOT.find) as client:
            found = await client.find(record({LEVEL: "PATIENT", **dict.fromkeys(keys, "")}))
    assert found.statuses == {status}


async def test_a_cancel_does_not_wait_for_an_archive_that_is_being_connected(tmp_path: Path) -> None:
    async with QueryArchive(on_request=lambda request: "silence").serving() as one:
        config = router_over(tmp_path, {"one": one.port}, 'connect = "1m"\ndeadline = "5m"')
        async with running_router(config) as router, find_client(router.port) as client:
            invocation = await client.begin(KEYS)
            await eventually(lambda: bool(one.requests))
            began = trio.current_time()
            await invocation.cancel()
            assert (await client.read(invocation)).final.status == Status.CANCEL
            assert trio.current_time() - began < 5
