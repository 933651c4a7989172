"""What one archive is asked for a query of a client, by the archive's habits in the configuration (pure).

An archive may know one information model only, no lists of UIDs, a single value of Modalities in Study, one character
set; it may want a wildcard after names. A query that it cannot answer in any form is not sent. Not here: identity
(`identity`), and what comes back (`fan_out`).
"""

from collections.abc import Iterable, Iterator
from typing import Final

from attrs import frozen

from router.dicom.dataset import DataSet, Element
from router.dicom.encoding import padded
from router.dicom.information_models import (
    MODELS,
    PATIENT,
    QUERY_RETRIEVE_LEVEL,
    STUDY,
    STUDY_INSTANCE_UID,
    UNIQUE_KEYS,
    WORKLIST,
    InformationModel,
)
from router.services.query.identifier import InvalidIdentifier, check_levels_above, in_character_set, level_of
from router.services.query.matching import RETURNED_ONLY
from router.services.query.merge import MODALITIES_IN_STUDY
from router.services.query.options import PeerFind, PeerQuery

DEFAULT_REPERTOIRE: Final = "ISO_IR 6"
MOST_QUERIES: Final = 10_000
"""Queries that an archive is asked one after the other in place of one with lists."""
_PATIENT_GROUP: Final = 0x0010


class CannotAsk(Exception):
    """An archive cannot be asked what the client wants. The text says why, without values of keys."""


@frozen(kw_only=True)
class ArchiveQuery:
    """One C-FIND for an archive."""

    sop_class: str
    keys: DataSet
    is_relational: bool
    """Whether keys of the levels above are missing, so that the archive has to do relational queries."""


def keys_to_compare(keys: DataSet, habits: PeerFind) -> DataSet:
    """Return the keys that answers of an archive are compared with: the client's, with the wildcards that it wants."""
    return _with_wildcards(keys) if habits.append_wildcard else keys


def queries_for(keys: DataSet, model: InformationModel, habits: PeerFind) -> tuple[ArchiveQuery, ...]:
    """Return the queries for an archive, whose matches together are those of the client's query.

    Raises:
        CannotAsk: the archive's model has no such query, or it would be too many queries.
    """
    if terms := habits.character_set:
        keys = in_character_set(keys, "" if terms == DEFAULT_REPERTOIRE else terms)
    keys = keys_to_compare(keys, habits)
    if model is WORKLIST or not isinstance(habits, PeerQuery):
        return (ArchiveQuery(sop_class=model.find, keys=keys, is_relational=False),)
    target = model_towards(model, habits, level_of(keys))
    keys = _in_model(keys, target)
    is_relational = not _is_hierarchical(keys, target)
    found: list[ArchiveQuery] = []
    for one in _split(keys, habits):
        if len(found) == MOST_QUERIES:
            raise CannotAsk(f"it would have to be asked more than {MOST_QUERIES} times, for one value of a list each")
        found.append(ArchiveQuery(sop_class=target.find, keys=one, is_relational=is_relational))
    return tuple(found)


def model_towards(model: InformationModel, habits: PeerFind, level: str = "") -> InformationModel:
    """Return the information model that an archive is asked in, for a query of a client in `model`."""
    known = habits.model if isinstance(habits, PeerQuery) else ()
    if not known or model.name in known:
        return model
    return next((MODELS[name] for name in known if level in MODELS[name].levels), MODELS[known[0]])


def _in_model(keys: DataSet, target: InformationModel) -> DataSet:
    """Return the keys for an information model: those of a patient at STUDY level if it has no PATIENT level.

    Raises:
        CannotAsk: the model lacks the level.
    """
    level = level_of(keys)
    if level in target.levels:
        return keys
    if level != PATIENT:
        raise CannotAsk(f"it knows {target.title} only, which has no level {level}")
    of_patient = {tag: one for tag, one in keys.items() if tag >> 16 == _PATIENT_GROUP or tag in RETURNED_ONLY}
    of_patient[QUERY_RETRIEVE_LEVEL] = Element("CS", padded("CS", STUDY.encode()))
    return {**of_patient, STUDY_INSTANCE_UID: Element("UI", b"")}


def _is_hierarchical(keys: DataSet, model: InformationModel) -> bool:
    try:
        check_levels_above(keys, model, level_of(keys))
    except InvalidIdentifier:
        return False
    return True


def _split(keys: DataSet, habits: PeerQuery) -> Iterator[DataSet]:
    """Yield the keys with one value in place of each list that the archive does not match."""
    lists = [] if habits.uid_lists else [tag for tag in UNIQUE_KEYS.values() if _is_uid_list(keys, tag)]
    if not habits.modality_lists and MODALITIES_IN_STUDY in keys:
        lists.append(MODALITIES_IN_STUDY)
    return _with_each_value(keys, lists)


def _is_uid_list(keys: DataSet, tag: int) -> bool:
    return tag in keys and keys[tag].vr == "UI"


def _with_each_value(keys: DataSet, tags: Iterable[int]) -> Iterator[DataSet]:
    rest = list(tags)
    if not rest:
        yield keys
        return
    tag = rest.pop()
    value = keys[tag].value
    assert isinstance(value, bytes), "a list of values is not a sequence"
    for one in dict.fromkeys(part.strip(b" \0") for part in value.split(b"\\")):
        vr = keys[tag].vr
        yield from _with_each_value({**keys, tag: Element(vr, padded(vr, one))}, rest)


def _with_wildcards(keys: DataSet) -> DataSet:
    """Return the keys with "*" appended to names that have no wildcard."""
    changed: dict[int, Element] = {}
    for tag, (vr, value) in keys.items():
        if not isinstance(value, bytes):
            changed[tag] = Element(vr, tuple(map(_with_wildcards, value)))
        elif vr == "PN" and (name := value.strip(b" \0")) and b"*" not in name and b"?" not in name:
            changed[tag] = Element(vr, padded(vr, name + b"*"))
    return {**keys, **changed}
