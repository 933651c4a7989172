"""Find at one archive which instances a retrieve is about, down to the IMAGE level.

Every level is asked with the unique keys of the levels above (PS3.4 C.4.1.2.2.1), because few archives negotiate
relational queries; one that has is asked without them where a relational retrieve gives neither patient nor study.
Answers are compared with the keys here, too: an archive may ignore a key that it does not know. Not here: one query
(`router.services.query.ask`), and the archive's habits (`router.services.query.habits`).
"""

from collections.abc import Iterator, Sequence
from typing import Final

import trio
from attrs import evolve, field, frozen

from router.dicom.dataset import DataSet, element, identifier
from router.dicom.information_models import (
    IMAGE,
    INSTANCE_UID,
    PATIENT,
    PATIENT_ID,
    QUERY_RETRIEVE_LEVEL,
    SERIES,
    SERIES_INSTANCE_UID,
    STUDY,
    STUDY_INSTANCE_UID,
    STUDY_ROOT,
    InformationModel,
)
from router.dicom.tags import SOP_CLASS_UID
from router.dimse import Priority
from router.services.peers import Peers
from router.services.query.ask import Deadlines, PeerMatch, Question, query_peer
from router.services.query.extended import cannot_relational, proposal
from router.services.query.habits import ArchiveQuery, CannotAsk, model_towards, queries_for
from router.services.query.options import PeerQuery
from router.services.retrieve.plan import MOST_STORAGE_CONTEXTS, MOST_UIDS, Instance

AVAILABLE_TRANSFER_SYNTAX_UID: Final = 0x00083002
MOST_INSTANCES: Final = 1_000_000
"""Instances of one retrieve; one needs about 1 kB."""

_VR: Final = {PATIENT_ID: "LO", QUERY_RETRIEVE_LEVEL: "CS"}


@frozen(kw_only=True)
class Wanted:
    """The unique keys of a retrieve."""

    patient: str = ""
    """Patient ID; "" if the identifier has none."""
    studies: tuple[str, ...] = ()
    """Empty: all of the patient."""
    series: tuple[str, ...] = ()
    """Empty: all of the studies."""
    instances: tuple[str, ...] = ()
    """Empty: all of the series."""

    @classmethod
    def from_keys(cls, keys: DataSet) -> "Wanted":
        """Return the unique keys of an identifier that has been checked."""
        return cls(
            patient=identifier(keys, PATIENT_ID),
            studies=_uids(keys, STUDY_INSTANCE_UID),
            series=_uids(keys, SERIES_INSTANCE_UID),
            instances=_uids(keys, INSTANCE_UID),
        )


def _uids(keys: DataSet, tag: int) -> tuple[str, ...]:
    return tuple(dict.fromkeys(uid for one in identifier(keys, tag).split("\\") if (uid := one.strip(" \0"))))


@frozen(kw_only=True)
class Found:
    """What one archive has said."""

    instances: dict[str, Instance] = field(factory=dict)
    """By SOP Instance UID."""
    cause: str = ""
    """Why this may not be all that the archive has; "" if it is."""
    queries: int = 0
    has_whole_series: bool = True
    """False: instances were wanted by their UIDs, so that their series may have others."""
    extended: dict[tuple[str, str], bytes | None] = field(factory=dict)
    """Its answers to SOP Class Extended Negotiation, as in `ServiceContext.last_extended`."""

    @property
    def sizes(self) -> dict[str, int]:
        """The number of instances of each series, by Series Instance UID, as far as it is known."""
        sizes: dict[str, int] = {}
        if not self.has_whole_series:
            return sizes
        for instance in self.instances.values():
            sizes[instance.series] = sizes.get(instance.series, 0) + 1
        return sizes


def model_for(habits: PeerQuery) -> InformationModel:
    """Return the information model in which an archive is asked what it has, and for instances."""
    return model_towards(STUDY_ROOT, habits, IMAGE)


def most_uids_for(habits: PeerQuery) -> int:
    """Return the number of UIDs that one identifier for an archive may have."""
    return MOST_UIDS if habits.uid_lists else 1


@frozen
class _Place:
    """The unique keys of a series, or of a level above it; "" for what is not known."""

    patient: str = ""
    study: str = ""
    series: str = ""


class Locator:
    """Asks one archive."""

    def __init__(
        self,
        peers: Peers,
        archive: str,
        deadlines: Deadlines,
        cancelled: trio.Event,
        habits: PeerQuery,
        priority: int = Priority.MEDIUM,
    ) -> None:
        """`archive`: the name of the AE in the configuration that performs queries."""
        self._peers = peers
        self._archive = archive
        self._deadlines = deadlines
        self._cancelled = cancelled
        self._habits = habits
        self._priority = priority
        self._has_patients = PATIENT in model_for(habits).levels
        self._instances: dict[str, Instance] = {}
        self._queries = 0
        self._extended: dict[tuple[str, str], bytes | None] = {}

    async def locate(self, wanted: Wanted) -> Found:
        """Return the instances of the archive that are wanted."""
        cause = ""
        try:
            if wanted.patient or wanted.studies or wanted.series:
                for study in await self._studies(wanted):
                    for series in await self._series(study, wanted):
                        await self._find_instances(series, wanted)
            else:
                await self._find_instances(_Place(), wanted)
        except _Incomplete as error:
            cause = str(error)
        return Found(
            instances=self._instances,
            cause=cause,
            queries=self._queries,
            has_whole_series=not wanted.instances,
            extended=self._extended,
        )

    async def _studies(self, wanted: Wanted) -> Sequence[_Place]:
        """Return the studies, which are asked for only if a patient is given, or needed for a given study."""
        if not wanted.patient and not (self._has_patients and wanted.studies):
            return [_Place(study=study) for study in wanted.studies or ("",)]
        found: dict[_Place, None] = {}
        for studies in _values(wanted.studies, is_below=bool(wanted.patient)):
            keys = {PATIENT_ID: wanted.patient, STUDY_INSTANCE_UID: studies}
            for answer in await self._matches_of(STUDY, keys):
                study = identifier(answer, STUDY_INSTANCE_UID)
                if study and (not wanted.studies or study in wanted.studies):
                    found[_Place(patient=wanted.patient or identifier(answer, PATIENT_ID), study=study)] = None
        return tuple(found)

    async def _series(self, place: _Place, wanted: Wanted) -> Sequence[_Place]:
        """Return the series of a study, which are not asked for if one is given with its study."""
        if wanted.instances and len(wanted.studies) == len(wanted.series) == 1:
            return [evolve(place, series=wanted.series[0])]
        found: dict[_Place, None] = {}
        for series in _values(wanted.series, is_below=bool(place.study)):
            keys = {**self._keys_above(place), SERIES_INSTANCE_UID: series}
            for answer in await self._matches_of(SERIES, keys):
                uid = identifier(answer, SERIES_INSTANCE_UID)
                if uid and (not wanted.series or uid in wanted.series):
                    found[evolve(_completed(place, answer), series=uid)] = None
        return tuple(found)

    async def _find_instances(self, place: _Place, wanted: Wanted) -> None:
        for uids in _values(wanted.instances, is_below=bool(place.series)):
            keys = {
                **self._keys_above(place),
                SERIES_INSTANCE_UID: place.series,
                INSTANCE_UID: uids,
                SOP_CLASS_UID: "",
                AVAILABLE_TRANSFER_SYNTAX_UID: "",
            }
            for answer in await self._matches_of(IMAGE, keys):
                self._note_instance(_completed(place, answer), answer, wanted)
            if len(self._instances) > MOST_INSTANCES:
                raise _Incomplete(f"more than {MOST_INSTANCES} instances")

    def _note_instance(self, place: _Place, answer: DataSet, wanted: Wanted) -> None:
        uid = identifier(answer, INSTANCE_UID)
        if not uid or (wanted.instances and uid not in wanted.instances):
            return
        if not place.series:
            raise _Incomplete("it does not say of which series an instance is")
        self._instances[uid] = Instance(
            uid=uid,
            study=place.study,
            series=place.series,
            patient=place.patient,
            sop_class=identifier(answer, SOP_CLASS_UID),
            transfer_syntaxes=_uids(answer, AVAILABLE_TRANSFER_SYNTAX_UID)[:MOST_STORAGE_CONTEXTS],
        )

    def _keys_above(self, place: _Place) -> dict[int, str]:
        patient = {PATIENT_ID: place.patient} if self._has_patients else {}
        return {**patient, STUDY_INSTANCE_UID: place.study}

    async def _matches_of(self, level: str, keys: dict[int, str]) -> list[DataSet]:
        """Return the answers to one query, or to as many as the archive needs in its place.

        Raises:
            _Incomplete: the archive has not answered to the end.
        """
        answers: list[DataSet] = []
        keys = {QUERY_RETRIEVE_LEVEL: level, **keys}
        elements = {tag: element(_VR.get(tag, "UI"), value) for tag, value in sorted(keys.items())}
        try:
            queries = queries_for(elements, STUDY_ROOT, self._habits)
        except CannotAsk as error:
            raise _Incomplete(str(error)) from error
        for query in queries:
            await self._query(query, answers)
        return answers

    async def _query(self, query: ArchiveQuery, answers: list[DataSet]) -> None:
        async def receive(match: PeerMatch) -> None:
            answers.append(match.identifier)

        question = Question(
            peer=self._archive,
            sop_class=query.sop_class,
            identifier=query.keys,
            priority=self._priority,
            extended=proposal(query.keys, None) if self._habits.extended_negotiation else None,
            is_possible=cannot_relational if query.is_relational else lambda extended: "",
            deadlines=self._deadlines,
        )
        self._queries += 1
        outcome = await query_peer(self._peers, question, receive, self._cancelled)
        if outcome.has_associated:
            self._extended[self._archive, query.sop_class] = outcome.extended
        if not outcome.is_complete:
            raise _Incomplete(outcome.cause or f"status {outcome.status or 0:04X}H")


class _Incomplete(Exception):
    """An archive has not answered a query to its end. The text says why."""


def _values(uids: Sequence[str], *, is_below: bool) -> Iterator[str]:
    """Yield the values of a unique key to ask for. `is_below`: the key of the level above is given.

    Then it is the one UID, or "" for universal matching: not every archive knows lists of UIDs.
    """
    if is_below or not uids:
        yield uids[0] if len(uids) == 1 else ""
        return
    for at in range(0, len(uids), MOST_UIDS):
        yield "\\".join(uids[at : at + MOST_UIDS])


def _completed(place: _Place, answer: DataSet) -> _Place:
    """Return a place with the keys that it lacks, as an answer has them.

    Raises:
        _Incomplete: it does not name the study.
    """
    completed = _Place(
        patient=place.patient or identifier(answer, PATIENT_ID),
        study=place.study or identifier(answer, STUDY_INSTANCE_UID),
        series=place.series or identifier(answer, SERIES_INSTANCE_UID),
    )
    if not completed.study:
        raise _Incomplete("it does not say of which study a series or an instance is")
    return completed
