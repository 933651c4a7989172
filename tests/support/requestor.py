"""A requestor's view of an AE on this host."""

from router.association import RemoteAE
from tests.support.harness import (
    CT,
    IMPLICIT,
)

PAIR = CT, IMPLICIT


def remote_at(port: int, *, window: int = 1) -> RemoteAE:
    return RemoteAE(
        host="127.0.0.1",
        port=port,
        called_ae="PACS",
        calling_ae="ROUTER",
        maximum_pdu_length=16384,
        implementation_class_uid="1.2.3",
        implementation_version_name="TEST",
        window=window,
    )
