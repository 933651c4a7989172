"""Modality Worklist SCP (PS3.4 K): C-FIND answered by one or more information systems, as a query is by archives."""

from collections.abc import Mapping
from typing import ClassVar

from router.config import Peer, ServiceOptions
from router.dicom.dataset import DataSet
from router.dicom.information_models import WORKLIST, InformationModel
from router.services.query.identity import Identity, worklist_identity_of
from router.services.query.options import (
    WORKLIST_OPTIONS,
    FindRouteOptions,
    FindSettings,
    PeerFind,
    WorklistPeerOptions,
    WorklistRouteOptions,
    WorklistSettings,
)
from router.services.query.scp import FindSCP


class Worklist(FindSCP):
    """C-FIND of the Modality Worklist information model."""

    name: ClassVar[str] = "worklist"
    options: ClassVar[ServiceOptions] = WORKLIST_OPTIONS
    models: ClassVar[Mapping[str, InformationModel]] = {WORKLIST.find: WORKLIST}
    settings: ClassVar[type[FindSettings]] = WorklistSettings
    route_options: ClassVar[type[FindRouteOptions]] = WorklistRouteOptions

    def habits_of(self, peer: Peer) -> PeerFind:
        return peer.options[WorklistPeerOptions].worklist

    def identity_of(self, level: str, data_set: DataSet, issuer: str) -> Identity | None:
        return worklist_identity_of(data_set, issuer)
