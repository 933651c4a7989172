"""The operations that a peer invokes on an association that we opened, one at a time.

An N-EVENT-REPORT while a delivery's response is due, a C-STORE while a C-GET is outstanding. Not here: the operation
itself (`operation`), and reading, which the requestor does.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import structlog
import trio

from pdu import AcceptedContext, Overtaken
from router.association.operation import Operation, OperationPerformer, send_response
from router.association.remote_ae import RemoteAE
from router.association.transport import Transport
from router.dimse import CommandField, DataSetPiece, MessageBegin

log = structlog.get_logger()


class NotPerformed(Exception):
    """The peer invokes an operation that nobody performs on this association, which has to be aborted."""


class RequestorOperations:
    """Performs the operations of one peer on one association."""

    def __init__(self, operations: OperationPerformer | None, remote: RemoteAE, transport: Transport) -> None:
        """`operations`: None performs nothing."""
        self.contexts: Mapping[int, AcceptedContext] = {}
        """The accepted presentation contexts by ID."""
        self.scp_for: frozenset[str] = frozenset()
        """The SOP classes for which we proposed to be the SCP."""
        self.answers: bool = True
        """False after A-RELEASE-RQ: responses can no longer be sent (PS3.8 9.2, Sta7)."""
        self._operations: Final = operations
        self._remote: Final = remote
        self._transport: Final = transport
        self._operation: Operation | None = None

    @property
    def in_request(self) -> bool:
        """Whether a request of the peer has begun and its data set is not complete."""
        return self._operation is not None

    async def feed(self, piece: MessageBegin | DataSetPiece) -> None:
        """Accept a part of a request of the peer; perform it when it is complete, and respond.

        Raises:
            NotPerformed: nobody performs it.
        """
        if isinstance(piece, MessageBegin):
            if piece.command.field == CommandField.C_CANCEL_RQ:  # of an operation that is complete (PS3.7 9.3.2.3)
                log.debug("stray message ignored", command=piece.command.name)
                return
            self._operation = self._begin(piece)
            is_complete = not piece.command.has_data_set
        else:
            assert self._operation is not None
            await self._operation.write(piece)
            is_complete = piece.is_last
        if is_complete:
            await self._perform()

    def _begin(self, begin: MessageBegin) -> Operation:
        operation = None
        if self._operations is not None:
            context = self.contexts[begin.context_id]
            is_scp = context.abstract_syntax in self.scp_for
            operation = self._operations.begin(begin, context, self._remote, is_scp=is_scp)
        if operation is None:
            raise NotPerformed(f"the peer asked for {begin.command.name} on our association")
        return operation

    async def _perform(self) -> None:
        operation, self._operation = self._operation, None
        assert operation is not None
        await trio.lowlevel.checkpoint()  # thousands of requests may have come in one read
        response = await operation.perform()
        if self.answers:
            with suppress(Overtaken):
                await send_response(self._transport, operation.context_id, response)

    async def drop(self) -> None:
        """Discard a request that is not complete."""
        if self._operation is not None:
            await self._operation.drop()
