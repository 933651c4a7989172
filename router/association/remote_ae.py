"""The remote AE that an association is opened to."""

from typing import Self

from attrs import frozen

from router.config import Config, Peer


@frozen(kw_only=True)
class RemoteAE:
    """A remote AE: its address, the AE titles of both sides, and what we announce to it."""

    host: str
    port: int
    called_ae: str
    calling_ae: str
    maximum_pdu_length: int
    """Bytes of a P-DATA-TF that we receive."""
    implementation_class_uid: str
    implementation_version_name: str
    window: int = 1
    """Requests to have outstanding at a time; 1 proposes no window (PS3.7 D.3.3.3)."""

    @classmethod
    def of(cls, peer: Peer, config: Config) -> Self:
        """Return the remote AE of a configured peer, which must have an address."""
        assert peer.address is not None, "only a peer with an address can be called"
        router = config.router
        return cls(
            host=peer.address.host,
            port=peer.address.port,
            called_ae=peer.ae_title,
            calling_ae=peer.calling_ae or router.ae_title,
            maximum_pdu_length=peer.maximum_pdu_length,
            implementation_class_uid=router.implementation_class_uid,
            implementation_version_name=router.implementation_version_name,
            window=peer.window,
        )
