"""Every real object there is, through the router to three archives at once, and what each of them then holds.

The pynetdicom archive and DCMTK's storescp keep the bytes they get, so theirs must be the sender's. Orthanc parses what
it gets and writes it anew; what it holds must be what it holds when the same object reaches it without a router, and
what it refuses then it may refuse from the router too.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from attrs import evolve, field, frozen
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

from tests.support.objects import Instance, files_named_by_meta_only, read_file, stored_files
from tests.support.peers import Modality, NotAssociated, Orthanc, PynetdicomArchive, Storescp, store_all
from tests.support.ports import until
from tests.support.router_process import Archive, RouterProcess, configuration

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

PATIENCE = 2
"""Seconds: to some malformed objects Orthanc never answers."""

Kept = dict[str, tuple[str, bytes]]
"""Transfer syntax and data set by SOP Instance UID."""


@frozen(kw_only=True)
class House:
    """The router and the three archives behind it."""

    router: RouterProcess
    pynetdicom: PynetdicomArchive
    storescp: Storescp
    orthanc: Orthanc
    folder: Path
    tally: Counter[str] = field(factory=Counter)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    with (
        PynetdicomArchive() as pynetdicom,
        Storescp(folder / "storescp", sop_classes={one.sop_class_uid for one in stored_files()}) as storescp,
        Orthanc(folder / "orthanc") as orthanc,
    ):
        archives: dict[str, Archive] = {"pynetdicom": pynetdicom, "storescp": storescp, "orthanc": orthanc}
        seldom = {"orthanc": {"retry": {"first": "5s", "max": "1m"}}}
        content = configuration(archives, timeouts={"dimse": f"{PATIENCE}s"}, peers=seldom)
        with RouterProcess(folder / "router", content) as router:
            yield House(router=router, pynetdicom=pynetdicom, storescp=storescp, orthanc=orthanc, folder=folder)


def rounds(instances: Iterable[Instance]) -> list[list[Instance]]:
    """Several of the files share a SOP Instance UID; in a round each UID is there once."""
    made: list[dict[str, Instance]] = []
    for one in instances:
        free = next((each for each in made if one.sop_instance_uid not in each), None)
        if free is None:
            made.append(free := {})
        free[one.sop_instance_uid] = one
    return [list(each.values()) for each in made]


def conforming(instance: Instance) -> Instance:
    """As a conforming sender would send it: two of the files have an odd length, which PS3.8 annex E.2 rules out."""
    return evolve(instance, data=instance.data + b"\0" * (len(instance.data) % 2))


def kept_of(instances: Iterable[Instance]) -> Kept:
    return {one.sop_instance_uid: (one.transfer_syntax, one.data) for one in instances}


def in_storescp(house: House) -> Kept:
    """What storescp holds; a file that is still being written may not be readable yet."""
    try:
        return kept_of(map(read_file, house.storescp.files()))
    except (InvalidDicomError, EOFError):
        return {}


def in_orthanc(house: House) -> Kept:
    kept = {}
    for uid, identifier in house.orthanc.instances().items():
        path = house.folder / "orthanc.dcm"
        path.write_bytes(house.orthanc.file(identifier))
        one = read_file(path)
        kept[uid] = one.transfer_syntax, one.data
    return kept


def directly_in_orthanc(house: House, instances: Iterable[Instance]) -> Kept:
    """What Orthanc makes of the instances where there is no router in between; it is empty again afterwards."""
    left = deque(instances)
    while left:
        pairs = {(one.sop_class_uid, one.transfer_syntax) for one in left}
        try:
            with Modality(house.orthanc.host, house.orthanc.port, pairs, patience=PATIENCE) as modality:
                accepted = modality.accepted()
                while left and modality.association.is_established:
                    one = left.popleft()
                    if (one.sop_class_uid, one.transfer_syntax) in accepted:
                        modality.store(one)
        except NotAssociated:
            break
    kept = in_orthanc(house)
    empty_orthanc(house)
    return kept


def empty_orthanc(house: House) -> None:
    for identifier in house.orthanc.instances().values():
        house.orthanc.delete(identifier)


def test_every_stored_file_reaches_the_three_archives_as_it_was_sent(house: House) -> None:
    for batch in rounds(map(conforming, stored_files())):
        send_and_compare(house, batch)
    syntaxes = Counter(UID(one.transfer_syntax).keyword for one in stored_files())
    print(f"\n{len(stored_files())} files in {len(syntaxes)} transfer syntaxes: {dict(syntaxes.most_common())}")
    print(f"arrived: {dict(house.tally)}")


def send_and_compare(house: House, batch: list[Instance]) -> None:
    sent = kept_of(batch)
    direct = directly_in_orthanc(house, batch)
    house.pynetdicom.clear()
    for path in house.storescp.files():
        path.unlink()

    assert store_all(house.router.host, house.router.port, batch) == [0x0000] * len(batch)

    received = house.pynetdicom.wait_for(len(batch))
    assert {one.sop_instance_uid: (one.transfer_syntax, one.data) for one in received} == sent
    until(lambda: in_storescp(house) == sent, "storescp holds what was sent")
    until(lambda: house.orthanc.instances().keys() == direct.keys(), "Orthanc has what it takes without a router")
    until(lambda: in_orthanc(house) == direct, "Orthanc holds what it holds without a router")
    empty_orthanc(house)

    house.tally["pynetdicom, same bytes"] += len(sent)
    house.tally["storescp, same bytes"] += len(sent)
    house.tally["orthanc, same bytes"] += sum(direct.get(uid) == kept for uid, kept in sent.items())
    house.tally["orthanc, same transfer syntax"] += sum(
        uid in direct and direct[uid][0] == syntax for uid, (syntax, _) in sent.items()
    )
    house.tally["orthanc, refused without a router too"] += len(sent.keys() - direct.keys())


def test_a_data_set_of_odd_length_is_passed_on_as_it_is(tmp_path: Path) -> None:
    odd = [one for one in stored_files() if len(one.data) % 2]
    with (
        PynetdicomArchive() as archive,
        RouterProcess(tmp_path / "router", configuration({"archive": archive})) as router,
    ):
        assert store_all(router.host, router.port, odd) == [0x0000] * len(odd)
        received = archive.wait_for(len(odd))
    assert kept_of(odd) == {one.sop_instance_uid: (one.transfer_syntax, one.data) for one in received}


def test_a_data_set_without_its_uids_is_refused_and_nothing_of_it_is_sent_on(house: House) -> None:
    house.pynetdicom.clear()
    nameless = files_named_by_meta_only()
    assert store_all(house.router.host, house.router.port, nameless) == [0xA900] * len(nameless)
    assert store_all(house.router.host, house.router.port, stored_files()[:1]) == [0x0000]
    (received,) = house.pynetdicom.wait_for(1)
    assert received.sop_instance_uid == stored_files()[0].sop_instance_uid
