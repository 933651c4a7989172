"""Procedure steps between pynetdicom's modality and pynetdicom's RIS, through a router process: a RIS that is down,
slow, forgetful or rude, and a router that is killed in the middle."""

import time
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import UID
from pynetdicom import evt

from tests.support.archive import UNCOMPRESSED, PynetdicomArchive, store_all
from tests.support.mpps_messages import completed, in_progress, progress
from tests.support.objects import ct
from tests.support.ports import until
from tests.support.ris import PynetdicomModality, PynetdicomRIS, Told
from tests.support.router_process import RouterProcess, configuration

STEP = "1.2.826.0.1.3680043.8.498.77"
WHOLE = [("N-CREATE", "IN PROGRESS"), ("N-SET", ""), ("N-SET", "COMPLETED")]


def hub(folder: Path, *routes: dict[str, Any], **peers: Any) -> RouterProcess:
    every: dict[str, Any] = {"service": "mpps", "to": list(peers)}
    tables = [{"name": f"route {number}", **route} for number, route in enumerate(routes or (every,))]
    return RouterProcess(folder, configuration(peers, routes=tables))


def perform(modality: PynetdicomModality, uid: str = STEP) -> None:
    assert modality.create(uid, in_progress()).Status == 0x0000
    assert modality.set(uid, progress("on the way")).Status == 0x0000
    assert modality.set(uid, completed()).Status == 0x0000


@pytest.mark.parametrize("transfer_syntax", UNCOMPRESSED)
def test_a_step_reaches_two_ris_and_can_be_retrieved(tmp_path: Path, transfer_syntax: UID) -> None:
    with PynetdicomRIS() as one, PynetdicomRIS(ae_title="OTHER") as two:
        with hub(tmp_path, one=one, two=two) as router:
            with PynetdicomModality(router.host, router.port, transfer_syntax=transfer_syntax) as modality:
                perform(modality)
                status, step = modality.get(STEP)
            for ris in (one, two):
                ris.wait_for(lambda ris: ris.steps.get(STEP) == "COMPLETED")
                assert ris.messages() == WHOLE
                assert ris.told[0].data_set == in_progress()
                assert ris.told[2].data_set == completed()
    assert status.Status == 0x0000
    assert step is not None
    assert step.PerformedProcedureStepStatus == "COMPLETED"
    assert step.PatientName == "Doe^Jane"


def test_what_the_standard_refuses_is_refused(tmp_path: Path) -> None:
    with PynetdicomRIS() as ris, hub(tmp_path, ris=ris) as router:
        with PynetdicomModality(router.host, router.port) as modality:
            assert modality.set(STEP, completed()).Status == 0x0112
            assert modality.create(STEP, completed()).Status == 0x0106
            perform(modality)
            late = modality.set(STEP, progress("late"))
            assert modality.create(STEP, in_progress("2")).Status == 0x0111
            assert modality.create(None, in_progress("3")).Status == 0x0000
        ris.wait_for(lambda ris: len(ris.steps) == 2)
    assert late.Status == 0x0110
    assert late.ErrorID == 0xA710
    assert late.ErrorComment == "Performed Procedure Step Object may no longer be updated"
    (assigned,) = ris.steps.keys() - {STEP}
    assert assigned.startswith("2.25.")


def test_a_ris_that_is_down_catches_up_and_a_killed_router_loses_nothing(tmp_path: Path) -> None:
    down = PynetdicomRIS(ae_title="DOWN")
    with PynetdicomRIS() as up:
        router = hub(tmp_path, up=up, down=down).start()
        for number in range(6):
            uid = f"{STEP}.{number}"
            with PynetdicomModality(router.host, router.port) as modality:
                assert modality.create(uid, in_progress(str(number))).Status == 0x0000
            router.kill()
            router.start()
            with PynetdicomModality(router.host, router.port) as modality:
                assert modality.set(uid, progress("on the way")).Status == 0x0000
                assert modality.set(uid, completed()).Status == 0x0000
        with down:
            for ris in (up, down):
                ris.wait_for(lambda ris: list(ris.steps.values()).count("COMPLETED") == 6)
            router.stop()
    for ris in (up, down):
        for number in range(6):
            heard = list(dict.fromkeys(ris.messages(f"{STEP}.{number}")))
            assert heard == WHOLE


def test_a_ris_that_forgets_aborts_and_repeats_itself_ends_with_the_step(tmp_path: Path) -> None:
    mishaps = iter(["busy", "abort", "forget", None])

    def answer(event: evt.Event, told: Told) -> int | None:
        match next(mishaps, None):
            case "busy":
                return 0x0213
            case "abort":  # after the last fragment: it has the step, we do not know
                ris.steps[told.uid] = told.state
                event.assoc.abort()
                return 0x0000
            case "forget":
                assert told.kind == "N-CREATE"  # answered 0111H, and gone
                ris.steps.clear()
                return 0x0111
        return None

    with PynetdicomRIS() as ris, hub(tmp_path, ris=ris) as router:
        ris.answer = answer
        with PynetdicomModality(router.host, router.port) as modality:
            perform(modality)
        ris.wait_for(lambda ris: ris.steps.get(STEP) == "COMPLETED")
    # busy, aborted, a duplicate, forgotten, then from the beginning
    kinds = [kind for kind, _ in ris.messages()]
    assert kinds[:5] == [*["N-CREATE"] * 3, "N-SET", "N-CREATE"]
    assert set(kinds[5:]) == {"N-SET"}


def test_a_ris_that_is_slow_keeps_nobody_waiting(tmp_path: Path) -> None:
    def slow(event: evt.Event, told: Told) -> int | None:
        time.sleep(0.5)
        return None

    with (
        PynetdicomRIS() as ris,
        PynetdicomRIS(ae_title="OTHER") as other,
        hub(tmp_path, ris=ris, other=other) as router,
    ):
        ris.answer = slow
        with PynetdicomModality(router.host, router.port) as modality:
            perform(modality)
        other.wait_for(lambda other: other.steps.get(STEP) == "COMPLETED")
        assert ris.steps.get(STEP) != "COMPLETED"
        ris.wait_for(lambda ris: ris.steps.get(STEP) == "COMPLETED")


def test_a_ris_may_answer_in_place_of_the_router(tmp_path: Path) -> None:
    with PynetdicomRIS() as ris, PynetdicomRIS(ae_title="OTHER") as other:
        route = {"service": "mpps", "to": ["ris", "other"], "answer": "ris"}
        with hub(tmp_path, route, ris=ris, other=other) as router:
            ris.answer = lambda event, told: 0x0124 if told.data_set.get("Modality") == "MR" else None
            with PynetdicomModality(router.host, router.port) as modality:
                assert modality.create("1.2.3", in_progress(modality="MR")).Status == 0x0124
                perform(modality)
            other.wait_for(lambda other: other.steps.get(STEP) == "COMPLETED")
    assert other.messages() == ris.messages(STEP) == WHOLE


def test_a_ris_hears_of_changes_and_of_images_that_are_there(tmp_path: Path) -> None:
    images = [ct() for _ in range(3)]
    with PynetdicomRIS() as ris, PynetdicomArchive(ae_title="PACS") as pacs:
        routes: list[dict[str, Any]] = [
            {"service": "storage", "to": ["pacs"]},
            *(
                {"service": service, "to": ["ris"]}
                for service in ("mpps", "mpps-notification", "instance-availability")
            ),
        ]
        with hub(tmp_path, *routes, ris=ris, pacs=pacs) as router:
            with PynetdicomModality(router.host, router.port) as modality:
                assert modality.create(STEP, in_progress()).Status == 0x0000
                assert store_all(router.host, router.port, images) == [0x0000] * 3
                last = completed([image.sop_instance_uid for image in images])
                assert modality.set(STEP, last).Status == 0x0000
            ris.wait_for(lambda ris: any(one.kind == "IAN" for one in ris.told))
            until(lambda: sum(one.kind == "N-EVENT-REPORT" for one in ris.told) == 2, "both changes are told of")
    assert [one.event_type for one in ris.told if one.kind == "N-EVENT-REPORT"] == [1, 2]
    (notice,) = [one.data_set for one in ris.told if one.kind == "IAN"]
    told = [item for series in notice.ReferencedSeriesSequence for item in series.ReferencedSOPSequence]
    assert {item.ReferencedSOPInstanceUID for item in told} == {image.sop_instance_uid for image in images}
    assert {item.InstanceAvailability for item in told} == {"ONLINE"}
    assert {item.RetrieveAETitle for item in told} == {"PACS"}
    assert notice.ReferencedPerformedProcedureStepSequence[0].ReferencedSOPInstanceUID == STEP
