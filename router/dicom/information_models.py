"""The information models of Query/Retrieve and of Modality Worklist (PS3.4 C.6, K.6): SOP classes, levels, unique keys.

Pure values. Not here: identifiers and what is done with them (`router.services.query`).
"""

from typing import Final

from attrs import frozen

PATIENT: Final = "PATIENT"
STUDY: Final = "STUDY"
SERIES: Final = "SERIES"
IMAGE: Final = "IMAGE"

LEVELS: Final = (PATIENT, STUDY, SERIES, IMAGE)
"""The values of Query/Retrieve Level (0008,0052), the highest first."""

QUERY_RETRIEVE_LEVEL: Final = 0x00080052
PATIENT_ID: Final = 0x00100020
ISSUER_OF_PATIENT_ID: Final = 0x00100021
STUDY_INSTANCE_UID: Final = 0x0020000D
SERIES_INSTANCE_UID: Final = 0x0020000E
INSTANCE_UID: Final = 0x00080018

UNIQUE_KEYS: Final = {
    PATIENT: PATIENT_ID,
    STUDY: STUDY_INSTANCE_UID,
    SERIES: SERIES_INSTANCE_UID,
    IMAGE: INSTANCE_UID,
}
"""The tag of the unique key of each level (PS3.4 C.6.1.1, C.6.2.1)."""


@frozen(kw_only=True)
class InformationModel:
    """One information model and its SOP classes."""

    name: str
    """As in the configuration and on the command line."""
    title: str
    """As in the standard."""
    find: str
    """The SOP Class UID for C-FIND."""
    move: str = ""
    """The SOP Class UID for C-MOVE; "" if the model has none."""
    get: str = ""
    """The SOP Class UID for C-GET; "" if the model has none."""
    levels: tuple[str, ...] = ()
    """Its levels, the highest first; none in a worklist."""

    def above(self, level: str) -> tuple[str, ...]:
        """Return the levels above one of its levels, the highest first."""
        return self.levels[: self.levels.index(level)]


def _query_retrieve(name: str, title: str, root: str, levels: tuple[str, ...]) -> InformationModel:
    find, move, get = (f"1.2.840.10008.5.1.4.1.2.{root}.{number}" for number in (1, 2, 3))
    return InformationModel(name=name, title=title, find=find, move=move, get=get, levels=levels)


PATIENT_ROOT: Final = _query_retrieve("patient", "Patient Root", "1", LEVELS)
STUDY_ROOT: Final = _query_retrieve("study", "Study Root", "2", LEVELS[1:])
PATIENT_STUDY_ONLY: Final = _query_retrieve("patient-study", "Patient/Study Only", "3", LEVELS[:2])
"""Retired in 2004, and still proposed."""
WORKLIST: Final = InformationModel(
    name="worklist", title="Modality Worklist Information Model", find="1.2.840.10008.5.1.4.31"
)

QUERY_RETRIEVE_MODELS: Final = (PATIENT_ROOT, STUDY_ROOT, PATIENT_STUDY_ONLY)

MODELS: Final = {model.name: model for model in (*QUERY_RETRIEVE_MODELS, WORKLIST)}
"""Every model by its name."""

_BY_SOP_CLASS: Final = {uid: model for model in MODELS.values() for uid in (model.find, model.move, model.get) if uid}


def model_of(sop_class: str) -> InformationModel | None:
    """Return the information model of a SOP class for C-FIND, C-MOVE or C-GET; None if it is of no model."""
    return _BY_SOP_CLASS.get(sop_class)
