"""Whom to call."""

from typing import Self

from attrs import frozen

from router.config import Config, Peer


@frozen(kw_only=True)
class RemoteAE:
    """Whom to call, and as whom."""

    host: str
    port: int
    called_ae: str
    calling_ae: str
    maximum_pdu_length: int
    implementation_class_uid: str
    implementation_version_name: str
    window: int = 1
    """Requests that we should like to have outstanding at a time; 1 proposes nothing (PS3.7 D.3.3.3)."""

    @classmethod
    def of(cls, peer: Peer, config: Config) -> Self:
        """A peer of the configuration, which has an address."""
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
