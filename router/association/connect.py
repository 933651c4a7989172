"""Open the TCP connection to a remote AE, and the association on it."""

import os
from collections.abc import Sequence

import trio
from attrs import frozen

from pdu import (
    AssociateAC,
    AssociateConfirm,
    AssociateRQ,
    Indication,
    RejectIndication,
    Role,
    TransportClosed,
    UpperLayer,
)
from router.association.describe import describe_end
from router.association.errors import Aborted, NotConnected, Rejected
from router.association.remote_ae import RemoteAE
from router.association.transport import Transport
from router.config import Timeouts
from router.network.sockets import KernelSocket


@frozen
class Established:
    """An association that the remote AE has accepted."""

    transport: Transport
    accept: AssociateAC
    arrived: Sequence[Indication]
    """What came in together with the answer."""


async def establish(remote: RemoteAE, request: AssociateRQ, timeouts: Timeouts) -> Established:
    """Connect and negotiate.

    Raises:
        NotConnected: no connection, or no answer in time.
        Rejected: A-ASSOCIATE-RJ.
        Aborted: the peer aborted instead of answering.
    """
    sock = await connect(remote, timeouts.connect)
    upper_layer = UpperLayer(role=Role.REQUESTOR, maximum_length=remote.maximum_pdu_length)
    transport = Transport(KernelSocket(sock), upper_layer, timeouts)
    try:
        await transport.tell(upper_layer.associate, request)
        await transport.tell(upper_layer.transport_connected)
        answer, *arrived = await _first_indications(transport, timeouts.association)
        match answer:
            case AssociateConfirm(accept=accept):
                return Established(transport, accept, arrived)
            case RejectIndication(rejection=rejection):
                raise Rejected(rejection.message, rejection)
            case _:
                raise Aborted(f"{describe_end(answer)} instead of an answer to A-ASSOCIATE-RQ")
    except BaseException:
        transport.close()
        raise


async def _first_indications(transport: Transport, patience: float) -> list[Indication]:
    """Return the first indications, within `patience` seconds."""
    deadline = trio.current_time() + patience
    try:
        while transport.is_open:
            if indications := await transport.read(max(0.0, deadline - trio.current_time())):
                return indications
            transport.acknowledge()
    except TimeoutError as error:
        raise NotConnected(f"no answer to A-ASSOCIATE-RQ: the peer was silent for {patience:g} s") from error
    return [TransportClosed()]


async def connect(remote: RemoteAE, patience: float) -> trio.socket.SocketType:
    """Connect within `patience` seconds, the look-up of a host name included.

    Raises:
        NotConnected: no such host, no answer, or a refusal.
    """
    try:
        with trio.fail_after(patience):
            stream = await trio.open_tcp_stream(remote.host, remote.port)
    except trio.TooSlowError as error:
        raise NotConnected(f"no connection to {remote.host}:{remote.port} within {patience:g} s") from error
    except OSError as error:
        raise NotConnected(f"no connection to {remote.host}:{remote.port}: {_cause(error)}") from error
    except UnicodeError as error:
        raise NotConnected(f"no connection: {remote.host!r} cannot be a host name: {error}") from error
    return stream.socket


def _cause(error: OSError) -> str:
    """Return the kernel's text. trio hides it behind its own, once for each address of a host name."""
    cause = error.__cause__
    each = cause.exceptions if isinstance(cause, BaseExceptionGroup) else [cause]
    texts = dict.fromkeys(os.strerror(one.errno) for one in each if isinstance(one, OSError) and one.errno)
    return ", ".join(texts) or error.strerror or str(error)
