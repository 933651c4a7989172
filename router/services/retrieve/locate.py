"""Find at one archive which instances a retrieve is about, down to the IMAGE level.

Every level is asked with the unique keys of the levels above (PS3.4 C.4.1.2.2.1), because few archives negotiate
relational queries. Answers are compared with the keys here, too: an archive may ignore a key that it does not know.
Not here: one query (`router.services.query.ask`).
"""

from collections.abc import Sequence
from typing import Final

import trio
from attrs import field, frozen

from router.dicom.dataset import DataSet, element, identifier
from router.dicom.information_models import (
    IMAGE,
    INSTANCE_UID,
    PATIENT_ID,
    QUERY_RETRIEVE_LEVEL,
    SERIES,
    SERIES_INSTANCE_UID,
    STUDY,
    STUDY_INSTANCE_UID,
    STUDY_ROOT,
)
from router.dicom.tags import SOP_CLASS_UID
from router.dimse import Priority
from router.services.peers import Peers
from router.services.query.ask import Deadlines, PeerMatch, Question, query_peer
from router.services.retrieve.plan import MOST_STORAGE_CONTEXTS, Instance

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

    @property
    def sizes(self) -> dict[str, int]:
        """The number of instances of each series, by Series Instance UID, as far as it is known."""
        sizes: dict[str, int] = {}
        if not self.has_whole_series:
            return sizes
        for instance in self.instances.values():
            sizes[instance.series] = sizes.get(instance.series, 0) + 1
        return sizes


class Locator:
    """Asks one archive."""

    def __init__(
        self, peers: Peers, archive: str, deadlines: Deadlines, cancelled: trio.Event, priority: int = Priority.MEDIUM
    ) -> None:
        """`archive`: the name of the AE in the configuration that performs queries."""
        self._peers = peers
        self._archive = archive
        self._deadlines = deadlines
        self._cancelled = cancelled
        self._priority = priority
        self._instances: dict[str, Instance] = {}
        self._queries = 0

    async def locate(self, wanted: Wanted) -> Found:
        """Return the instances of the archive that are wanted."""
        cause = ""
        try:
            for study in await self._studies(wanted):
                for series in await self._series(study, wanted):
                    await self._find_instances(study, series, wanted)
        except _Incomplete as error:
            cause = str(error)
        return Found(
            instances=self._instances, cause=cause, queries=self._queries, has_whole_series=not wanted.instances
        )

    async def _studies(self, wanted: Wanted) -> Sequence[str]:
        """Return the studies, which are asked for only if a patient is given."""
        found = wanted.studies
        if wanted.patient:
            keys = {PATIENT_ID: wanted.patient, STUDY_INSTANCE_UID: _only(wanted.studies)}
            answers = await self._matches_of(STUDY, keys)
            found = _distinct(answers, STUDY_INSTANCE_UID, wanted.studies)
        return found

    async def _series(self, study: str, wanted: Wanted) -> Sequence[str]:
        found = wanted.series
        if not wanted.instances:
            keys = {STUDY_INSTANCE_UID: study, SERIES_INSTANCE_UID: _only(wanted.series)}
            found = _distinct(await self._matches_of(SERIES, keys), SERIES_INSTANCE_UID, wanted.series)
        return found

    async def _find_instances(self, study: str, series: str, wanted: Wanted) -> None:
        keys = {
            STUDY_INSTANCE_UID: study,
            SERIES_INSTANCE_UID: series,
            INSTANCE_UID: _only(wanted.instances),
            SOP_CLASS_UID: "",
            AVAILABLE_TRANSFER_SYNTAX_UID: "",
        }
        for answer in await self._matches_of(IMAGE, keys):
            uid = identifier(answer, INSTANCE_UID)
            if uid and (not wanted.instances or uid in wanted.instances):
                self._instances[uid] = Instance(
                    uid=uid,
                    study=study,
                    series=series,
                    patient=wanted.patient,
                    sop_class=identifier(answer, SOP_CLASS_UID),
                    transfer_syntaxes=_uids(answer, AVAILABLE_TRANSFER_SYNTAX_UID)[:MOST_STORAGE_CONTEXTS],
                )
        if len(self._instances) > MOST_INSTANCES:
            raise _Incomplete(f"more than {MOST_INSTANCES} instances")

    async def _matches_of(self, level: str, keys: dict[int, str]) -> list[DataSet]:
        """Return the answers to one query.

        Raises:
            _Incomplete: the archive has not answered to the end.
        """
        answers: list[DataSet] = []

        async def receive(match: PeerMatch) -> None:
            answers.append(match.identifier)

        keys = {QUERY_RETRIEVE_LEVEL: level, **keys}
        question = Question(
            peer=self._archive,
            sop_class=STUDY_ROOT.find,
            identifier={tag: element(_VR.get(tag, "UI"), value) for tag, value in sorted(keys.items())},
            priority=self._priority,
            deadlines=self._deadlines,
        )
        self._queries += 1
        outcome = await query_peer(self._peers, question, receive, self._cancelled)
        if not outcome.is_complete:
            raise _Incomplete(outcome.cause or f"status {outcome.status or 0:04X}H")
        return answers


class _Incomplete(Exception):
    """An archive has not answered a query to its end. The text says why."""


def _only(uids: Sequence[str]) -> str:
    """Return the one UID to match, or "" for universal matching: not every archive knows lists of UIDs."""
    return uids[0] if len(uids) == 1 else ""


def _distinct(answers: Sequence[DataSet], tag: int, wanted: Sequence[str]) -> tuple[str, ...]:
    found = dict.fromkeys(uid for answer in answers if (uid := identifier(answer, tag)))
    return tuple(uid for uid in found if not wanted or uid in wanted)
