"""Five conformance statements, name by name: what each of them stores, the router accepts, keeps and forwards.

Every (SOP class, transfer syntax) pair of a document's tables is proposed in a context of its own, and one object goes
over each: answered 0000H, and at the archive behind the router bit for bit what was sent.
"""

from collections.abc import Iterator
from itertools import product

import pytest
from pydicom.uid import UID_dictionary  # type: ignore[attr-defined]

from tests.conformance import Document, Pair, documents
from tests.support.objects import Instance, ct
from tests.support.peers import Modality, PynetdicomArchive, store_all
from tests.support.router_process import RouterProcess, configuration

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

CONTEXTS = 128
"""Context IDs are the odd numbers of one byte (PS3.8 9.3.2.2)."""
PRIVATE = ["1.2.826.0.1.3680043.8.498.1.2.3", "2.25.1234567890"]


@pytest.fixture(scope="module")
def archive() -> Iterator[PynetdicomArchive]:
    with PynetdicomArchive() as archive:
        yield archive


@pytest.fixture(scope="module")
def router(archive: PynetdicomArchive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RouterProcess]:
    folder = tmp_path_factory.mktemp("router")
    with RouterProcess(folder, configuration({"archive": archive})) as router:
        yield router


@pytest.fixture(params=documents(), ids=lambda document: document.number)
def document(request: pytest.FixtureRequest) -> Document:
    return request.param


def pairs_of(document: Document) -> list[Pair]:
    if not document.any_sop_class:
        return list(document.pairs)
    registered = [uid for uid, (_, kind, *rest) in UID_dictionary.items() if is_stored(kind, rest[-1])]
    classes = [*registered, *PRIVATE]
    syntaxes = document.transfer_syntaxes.values()
    return [Pair(sop_class=one, transfer_syntax=syntax) for one, syntax in product(classes, syntaxes)]


def is_stored(kind: str, keyword: str) -> bool:
    return (
        kind == "SOP Class" and "Storage" in keyword and not keyword.startswith(("StorageCommitment", "MediaStorage"))
    )


def in_associations(pairs: list[Pair]) -> Iterator[list[Pair]]:
    for at in range(0, len(pairs), CONTEXTS):
        yield pairs[at : at + CONTEXTS]


def proposal(pairs: list[Pair]) -> list[tuple[str, str]]:
    return [(pair.sop_class, pair.transfer_syntax) for pair in pairs]


def test_every_pair_is_accepted_with_the_very_syntax_that_was_proposed(
    router: RouterProcess, document: Document
) -> None:
    for batch in in_associations(pairs_of(document)):
        with Modality(router.host, router.port, proposal(batch)) as modality:
            assert modality.rejected() == {}
            assert modality.accepted() == set(proposal(batch))


def test_one_object_of_every_pair_is_stored_and_arrives_bit_for_bit(
    router: RouterProcess, archive: PynetdicomArchive, document: Document
) -> None:
    archive.clear()
    sent: dict[str, Instance] = {}
    for batch in in_associations([pair for pair in pairs_of(document) if pair.stored]):
        with Modality(router.host, router.port, proposal(batch)) as modality:
            for pair in batch:
                one = ct(1, transfer_syntax=pair.transfer_syntax, sop_class_uid=pair.sop_class)
                assert modality.store(one) == 0x0000, pair
                sent[one.sop_instance_uid] = one
    archive.wait_for(len(sent), seconds=120)
    kept = {one.sop_instance_uid: (one.sop_class_uid, one.transfer_syntax, one.data) for one in archive.received}
    assert kept == {uid: (one.sop_class_uid, one.transfer_syntax, one.data) for uid, one in sent.items()}
    syntaxes = {one.transfer_syntax for one in sent.values()}
    print(f"document {document.number}: {len(sent)} objects in {len(syntaxes)} transfer syntaxes")


def test_verification_is_answered_in_every_syntax_a_document_gives_it(
    router: RouterProcess, document: Document
) -> None:
    for pair in document.pairs:
        if not pair.stored:
            with Modality(router.host, router.port, proposal([pair])) as modality:
                assert modality.echo() == 0x0000


def test_a_misprinted_uid_is_stored_as_any_other_uid(
    router: RouterProcess, archive: PynetdicomArchive, document: Document
) -> None:
    archive.clear()
    known = {**document.sop_classes, **document.transfer_syntaxes}
    printed_for = {known[keyword]: printed for printed, keyword in document.misprints.items()}
    misprinted = [
        Pair(
            sop_class=printed_for.get(pair.sop_class, pair.sop_class),
            transfer_syntax=printed_for.get(pair.transfer_syntax, pair.transfer_syntax),
        )
        for pair in document.pairs
        if {pair.sop_class, pair.transfer_syntax} & printed_for.keys()
    ]
    sent = [ct(1, transfer_syntax=pair.transfer_syntax, sop_class_uid=pair.sop_class) for pair in misprinted]
    for one in sent:
        assert store_all(router.host, router.port, [one]) == [0x0000], one
    received = archive.wait_for(len(sent))
    assert {one.sop_instance_uid: one.data for one in received} == {one.sop_instance_uid: one.data for one in sent}
