"""docs/conformance.md says what a router does: its tables are read here and tried on one that runs."""

import ast
import re
from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import attrs
import pytest
from pydicom.uid import UID_dictionary  # type: ignore[attr-defined]

from pdu import (
    DICOM_APPLICATION_CONTEXT,
    AssociateRJ,
    AsynchronousOperationsWindow,
    ContextResult,
    Rejection,
    RoleSelection,
    UserInformation,
)
from router.config import Limits, RouterSettings
from router.dimse import Command, Status
from router.services import SERVICES, DeliveryPolicy
from tests.support.harness import (
    Archive,
    Modality,
    associate_rq,
    configuration,
    data_set,
    eventually,
    running_router,
    store_rq,
)

TOP = Path(__file__).parents[2]
PAGE = (TOP / "docs" / "conformance.md").read_text()
SOURCE = TOP / "router" / "services"
OPERATION = TOP / "router" / "association" / "operation.py"

UNCOMPRESSED = {
    "Implicit VR Little Endian": "1.2.840.10008.1.2",
    "Explicit VR Little Endian": "1.2.840.10008.1.2.1",
    "Explicit VR Big Endian": "1.2.840.10008.1.2.2",
}
JPEG = "1.2.840.10008.1.2.4.50"
PRIVATE = ("1.2.826.0.1.3680043.8.498.1.2.3", "2.25.1234567890")
STORED = "1.2.840.10008.5.1.4.1.1.2"
"""The storage SOP class that stands for all of them."""

Row = dict[str, str]


def tables(text: str) -> Iterator[list[Row]]:
    """Yield the tables of a page, each a list of rows, each row by the headings."""
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        lines = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in block.splitlines()]
        yield [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


def table(heading: str, page: str = PAGE) -> list[Row]:
    """Return the one table of the page that has this heading."""
    (found,) = (rows for rows in tables(page) if heading in rows[0])
    return found


def statuses_in(text: str) -> set[int]:
    """Return the statuses that a cell names, the lowest of each range: "A7xxH" is A700H."""
    return {int(code.replace("x", "0"), 16) for code in re.findall(r"\b([0-9A-F][0-9A-Fx]{3})H?\b", text)}


# Presentation contexts


def is_documented(uid: str) -> bool:
    """Return whether the page says that a requestor may use this abstract syntax."""
    if uid in {row["abstract syntax"] for row in table("abstract syntax")}:
        return True
    if uid not in UID_dictionary:
        return True
    _, kind, *_, keyword = UID_dictionary[uid]
    stored = "Storage" in keyword and not keyword.startswith(("StorageCommitment", "MediaStorage", "StorageService"))
    return kind == "SOP Class" and (stored or keyword == "PresentationLUT")


async def test_the_page_names_every_abstract_syntax_that_is_accepted(tmp_path: Path) -> None:
    known = [uid for uid, (_, kind, *_) in UID_dictionary.items() if kind in ("SOP Class", "Meta SOP Class")]
    proposed = [*known, *PRIVATE]
    assert len(proposed) > 300
    results: dict[str, ContextResult] = {}
    async with running_router(configuration(tmp_path)) as router:
        for at in range(0, len(proposed), 128):
            async with Modality.connected(router.port) as modality:
                some = proposed[at : at + 128]
                accept = await modality.associate(*((uid, tuple(UNCOMPRESSED.values())) for uid in some))
                results |= {uid: each.result for uid, each in zip(some, accept.presentation_contexts, strict=True)}
    expected = {
        uid: ContextResult.ACCEPTANCE if is_documented(uid) else ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED
        for uid in proposed
    }
    assert {UID_dictionary.get(uid, uid) for uid in results if results[uid] is not expected[uid]} == set()


def choice(row: Row, proposed: tuple[str, ...]) -> str | None:
    """Return the transfer syntax that the page lets the router take of those proposed; None where it takes none."""
    if row["transfer syntaxes"].startswith("every one"):
        return proposed[0]
    listed = [UNCOMPRESSED[name] for name in row["transfer syntaxes"].split(", ")]
    order = proposed if row["of several, the router takes"].endswith("proposer's order") else listed
    return next((uid for uid in order if uid in proposed and uid in listed), None)


@pytest.mark.parametrize("row", table("abstract syntax"), ids=lambda row: row["abstract syntax"])
async def test_of_several_transfer_syntaxes_the_one_is_taken_that_the_page_says(row: Row, tmp_path: Path) -> None:
    offered = (*UNCOMPRESSED.values(), JPEG)
    proposals = [one for length in (1, 2, 4) for one in permutations(offered, length)]
    uid = STORED if row["abstract syntax"] == "storage" else row["abstract syntax"]
    async with running_router(configuration(tmp_path)) as router, Modality.connected(router.port) as modality:
        accept = await modality.associate(*((uid, proposal) for proposal in proposals))
    for proposal, result in zip(proposals, accept.presentation_contexts, strict=True):
        expected = choice(row, proposal)
        if expected is None:
            assert result.result is ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED
        else:
            assert (result.result, result.transfer_syntax) == (ContextResult.ACCEPTANCE, expected)


async def test_a_requestor_gets_the_roles_that_the_page_says(tmp_path: Path) -> None:
    rows = table("abstract syntax")
    uids = [STORED if row["abstract syntax"] == "storage" else row["abstract syntax"] for row in rows]
    roles = tuple(RoleSelection(sop_class_uid=uid, scu_role=True, scp_role=True) for uid in uids)
    async with running_router(configuration(tmp_path)) as router, Modality.connected(router.port) as modality:
        accept = await ask(modality, uids, roles=roles)
    said = [(role.sop_class_uid, role.scu_role, role.scp_role) for role in accept.user_information.roles]
    documented = [set(row["roles of the requestor"].split(", ")) for row in rows]
    assert said == [(uid, "SCU" in row, "SCP" in row) for uid, row in zip(uids, documented, strict=True)]


def test_the_router_proposes_the_roles_that_the_page_says() -> None:
    """PS3.7 D.3.3.4; without role selection a requestor is SCU."""
    words = establishment("SCP/SCU role selection").partition("Proposed for ")[2]
    said = {name: roles.split(" and ") for name, roles in re.findall(r"([A-Z][\w ]+?) \(([^)]+)\)", words)}
    uids = {row["service"].partition(" (")[0]: row["SOP class"] for row in table("SOP class")}
    proposed = {}
    for name, uid in uids.items():
        for service in (object.__new__(cls) for cls in SERVICES if issubclass(cls, DeliveryPolicy)):
            if role := service.proposes(uid):
                proposed[name] = ["SCU"] * role.scu_role + ["SCP"] * role.scp_role
    assert {name.removesuffix(" Push Model"): roles for name, roles in proposed.items()} == said


async def ask(modality: Modality, uids: list[str], **information: Any) -> Any:
    """Request an association with further user information and return the answer."""
    request = associate_rq(*((uid, tuple(UNCOMPRESSED.values())) for uid in uids))
    await modality.say(attrs.evolve(request, user_information=attrs.evolve(request.user_information, **information)))
    return await modality.hear()


# Association establishment


def establishment(about: str) -> str:
    """Return what the table of association establishment says about something."""
    (cell,) = (row[""] for rows in establishment_tables() for row in rows if row["about"].startswith(about))
    return cell


def establishment_tables() -> Iterator[list[Row]]:
    """Yield the tables without headings; both of their headings are empty."""
    for block in re.findall(r"^\| \| \|\n\| --- \| --- \|\n((?:\|.*\n)+)", PAGE, re.MULTILINE):
        cells = ([cell.strip() for cell in line.strip().strip("|").split("|")] for line in block.splitlines())
        yield [{"about": about, "": said} for about, said in cells]


@pytest.mark.parametrize("proposed", [None, 1, 5, 32, 100, 0])
async def test_the_window_of_asynchronous_operations_is_the_one_of_the_page(
    proposed: int | None, tmp_path: Path
) -> None:
    words = establishment("Asynchronous operations")
    (most,) = map(int, re.findall(r"at most (\d+) \(`limits.window`\)", words))
    assert f"and {most} where it proposes no limit; the router has at most 1" in words
    window = None if proposed is None else AsynchronousOperationsWindow(invoked=proposed, performed=proposed)
    async with running_router(configuration(tmp_path)) as router, Modality.connected(router.port) as modality:
        accept = await ask(modality, [STORED], asynchronous_operations_window=window)
    answered = accept.user_information.asynchronous_operations_window
    if proposed is None:
        assert answered is None
    else:
        assert (answered.invoked, answered.performed) == (min(proposed or most, most), 1)


async def test_the_numbers_of_association_establishment_are_those_of_the_router(tmp_path: Path) -> None:
    async with running_router(configuration(tmp_path)) as router, Modality.connected(router.port) as modality:
        request = associate_rq(calling="CT  7", called="ANY TITLE")
        await modality.say(request)
        accept = await modality.hear()
    information = accept.user_information
    assert establishment("Application context") == DICOM_APPLICATION_CONTEXT
    assert establishment("Maximum PDU length").startswith(f"{information.maximum_length} by default")
    assert information.implementation_class_uid.startswith("2.25.")
    assert information.implementation_version_name.startswith("DICOM_ROUTER_")
    numbers = [int(number) for number in re.findall(r"\d+", establishment("Associations at a time"))]
    assert numbers == [Limits().associations, Limits().associations_per_peer]
    titles = (accept.calling_ae_title, accept.called_ae_title)
    assert titles == (request.calling_ae_title, request.called_ae_title)
    assert RouterSettings().maximum_pdu_length == information.maximum_length


REJECTED: dict[Rejection, tuple[str, dict[str, Any], dict[str, Any]]] = {
    Rejection.NO_REASON_GIVEN: ("[access]\npeer = '10.0.0.0/8'", {}, {}),
    Rejection.APPLICATION_CONTEXT_NAME_NOT_SUPPORTED: ("", {"application_context": "1.2.3"}, {}),
    Rejection.CALLING_AE_TITLE_NOT_RECOGNIZED: ("[access]\ncalling_ae = 'CT*'", {}, {}),
    Rejection.CALLED_AE_TITLE_NOT_RECOGNIZED: ("[access]\ncalled_ae = 'CT*'", {"called": "OTHER"}, {}),
    Rejection.NO_REASON_GIVEN_BY_ACSE: ("", {}, {"maximum_length": 6}),
    Rejection.PROTOCOL_VERSION_NOT_SUPPORTED: ("", {"protocol_version": 2}, {}),
    Rejection.LOCAL_LIMIT_EXCEEDED: ("[limits]\nassociations_per_peer = 1", {}, {}),
}
"""For each rejection: configuration, changes to the A-ASSOCIATE-RQ, changes to its user information."""


@pytest.mark.parametrize("rejection", REJECTED, ids=lambda rejection: rejection.name)
async def test_each_rejection_of_the_page_is_given(rejection: Rejection, tmp_path: Path) -> None:
    text, changes, information = REJECTED[rejection]
    request = associate_rq(**changes)
    user_information: UserInformation = attrs.evolve(request.user_information, **information)
    config = configuration(tmp_path, text)
    async with (
        running_router(config) as router,
        Modality.connected(router.port) as first,
        Modality.connected(router.port) as second,
    ):
        if rejection is Rejection.LOCAL_LIMIT_EXCEEDED:
            await first.associate()
        await second.say(attrs.evolve(request, user_information=user_information))
        answer = await second.hear()
    assert (answer.result, answer.source, answer.reason) == rejection.value


def test_the_page_lists_the_rejections_that_there_are() -> None:
    listed = [tuple(map(int, re.findall(r"\d", row["rejection"]))) for row in table("rejection")]
    assert listed == sorted(rejection.value for rejection in [*REJECTED, Rejection.TEMPORARY_CONGESTION])


# Statuses


def refused_with(*paths: str | Path) -> set[int]:
    """Return the statuses that stand in calls which refuse, in the source of services."""
    found = set()
    for path in paths:
        for node in ast.walk(ast.parse((SOURCE / path).read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("refuse", "Refused", "Unacceptable"):
                found |= {Status[name] for name in re.findall(r"Status\.([A-Z_]+)", ast.unparse(node))}
    return {int(status) for status in found}


def listed(rows: list[Row]) -> set[int]:
    """Return the statuses in the first column of a table."""
    return set.union(*(statuses_in(next(iter(row.values()))) for row in rows))


def test_the_page_lists_every_status_that_any_service_may_answer() -> None:
    common = {int(Status[name]) for name in re.findall(r"Status\.([A-Z_]+)", (SOURCE / "refusal.py").read_text())}
    assert listed(table("status of any service")) == common | refused_with(OPERATION)


def test_the_page_lists_every_status_that_a_c_store_is_answered() -> None:
    (rows,) = (rows for rows in tables(PAGE) if list(rows[0]) == ["status", "when"])
    own = refused_with("storage.py") | {Status.SUCCESS, Status.OUT_OF_RESOURCES, Status.UNABLE_TO_PROCESS}
    assert listed(rows) == own


def test_the_page_lists_every_status_that_a_procedure_step_is_answered() -> None:
    assert listed(table("N-CREATE")) >= refused_with(
        "mpps/scp.py", "mpps/retrieve.py", "mpps/state_machine.py", "mpps/intake.py"
    )


def test_the_statuses_of_a_commitment_request_are_listed_in_its_page() -> None:
    page = (TOP / "docs" / "storage-commitment.md").read_text()
    when = page[page.index("## What a modality is answered") : page.index("## Where the report goes")]
    assert statuses_in(when) >= refused_with("commitment/scp.py", "commitment/attributes.py")


def outcomes() -> list[tuple[int, str]]:
    """Return each status that the table of an archive's answers names, with the state of the delivery afterwards.

    A row that holds only "where" something else is so is left to the tests of deliveries.
    """
    return [
        (status, re.split(r"\W", row["the delivery is"])[0])
        for row in table("the delivery is")
        if " where " not in f"{row['answer']} {row['the delivery is']}"
        for status in sorted(statuses_in(row["answer"]))
    ]


@pytest.mark.parametrize("state", ["delivered", "waiting", "held"])
async def test_an_archives_answer_becomes_what_the_page_says(state: str, tmp_path: Path) -> None:
    answers = {f"1.2.3.{number}": status for number, (status, said) in enumerate(outcomes()) if said == state}
    assert len(answers) >= 2
    answered = set()

    def script(command: Command) -> int:
        answered.add(uid := command.affected_sop_instance_uid or "")
        return answers[uid]

    await deliver(Archive(script=script), list(answers), state, tmp_path, attempted=lambda: answered == set(answers))


async def deliver(
    archive: Archive, uids: list[str], state: str, folder: Path, *, attempted: Callable[[], bool]
) -> None:
    """Send objects into a router that delivers them to the archive; when it has tried, all must get into this state."""

    async def has_tried() -> bool:
        return attempted()

    async with archive.serving(), running_router(configuration(folder, pacs=archive.port)) as router:
        async with Modality.connected(router.port) as modality:
            await modality.associate((STORED, (UNCOMPRESSED["Implicit VR Little Endian"],)))
            for uid in uids:
                assert (await modality.store(store_rq(uid), data_set(uid))).status == Status.SUCCESS
        await eventually(has_tried)
        await router.until("pacs", accepted=len(uids), **{state: len(uids)})


def state_after(answer: str) -> str:
    """Return the state of a delivery after something that the table of an archive's answers names in words."""
    (row,) = (row for row in table("the delivery is") if answer in row["answer"])
    return re.split(r"\W", row["the delivery is"])[0]


@pytest.mark.parametrize("rejection", [*Rejection, (1, 3, 1), (2, 1, 1)], ids=str)
async def test_a_rejection_becomes_what_the_page_says(
    rejection: Rejection | tuple[int, int, int], tmp_path: Path
) -> None:
    result, source, reason = rejection.value if isinstance(rejection, Rejection) else rejection
    refusal = AssociateRJ(result=result, source=source, reason=reason)
    state = state_after("any rejection of the association")
    archive = Archive(on_request=lambda request: refusal)
    await deliver(archive, ["1.2.3"], state, tmp_path, attempted=lambda: archive.associations > 1)


async def test_a_refused_presentation_context_becomes_what_the_page_says(tmp_path: Path) -> None:
    state = state_after("a refused presentation context")
    archive = Archive(accepts=lambda context: False)
    await deliver(archive, ["1.2.3"], state, tmp_path, attempted=lambda: archive.associations > 0)
