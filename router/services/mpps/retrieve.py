"""Modality Performed Procedure Step Retrieve (PS3.4 F.8): N-GET of a step that the router remembers.

Not here: how steps are stored (intake.py, step_store.py).
"""

from functools import partial
from typing import ClassVar, Final

import structlog

from pdu import ContextResult
from router.concurrency import compute
from router.config import Config
from router.dicom.dataset import TRANSFER_SYNTAXES, write
from router.dicom.tags import SPECIFIC_CHARACTER_SET
from router.dimse import Command, CommandField, Response, Status, response_to
from router.services.base import NO_DATA_SET, SCP, Allowance, Proposal, Replies, Request, ServiceContext
from router.services.mpps import step_store
from router.services.mpps.attributes import MPPS_RETRIEVE
from router.services.mpps.options import MPPSSettings
from router.services.mpps.step_store import Step
from router.services.refusal import refuse
from router.spool import Incoming

NOT_ALL_SUPPORTED: Final = 0x0001
"""Warning: requested optional attributes are not supported (PS3.4 F.8.2.1.4)."""

log = structlog.get_logger()


class MPPSRetrieve(SCP):
    """N-GET, as SCP."""

    name: ClassVar[str] = "mpps-retrieve"
    requests: ClassVar[frozenset[int]] = frozenset({CommandField.N_GET_RQ})

    def __init__(self, context: ServiceContext) -> None:
        self._state = context.state
        self._state.define(step_store.SCHEMA, step_store.migrate)
        self.reload(context.config)

    def reload(self, config: Config) -> None:
        self._settings = config.options[MPPSSettings]

    def negotiate(self, proposal: Proposal) -> str | ContextResult | None:
        if proposal.abstract_syntax != MPPS_RETRIEVE:
            return None
        return proposal.choose(TRANSFER_SYNTAXES.__contains__, self._settings.prefer, TRANSFER_SYNTAXES)

    def admit(self, request: Request) -> Command | Allowance:
        command = request.command
        if not self._settings.retrieve_ae.matches(request.sender.calling_ae):
            return refuse(request, Status.NOT_AUTHORIZED, "you may not retrieve procedure steps here")
        if command.requested_sop_class_uid != MPPS_RETRIEVE:
            return refuse(request, Status.NO_SUCH_SOP_CLASS, "SOP class is not that of the presentation context")
        return NO_DATA_SET

    async def perform(self, request: Request, data: Incoming | None, replies: Replies) -> Response:
        uid = request.command.requested_sop_instance_uid or ""
        step = await self._state.read(partial(step_store.load, uid=uid))
        if step is None:
            return Response(refuse(request, Status.NO_SUCH_SOP_INSTANCE, "there is no such step"))
        return await compute(step.size, partial(_answer, request, step))


def _answer(request: Request, step: Step) -> Response:
    """Return the step whole, or the attributes that the request lists (PS3.4 F.8.2.1)."""
    held = step.data_set()
    wanted = request.command.attribute_identifier_list
    # with the character set, without which the text cannot be read
    given = {tag: held[tag] for tag in (*wanted, SPECIFIC_CHARACTER_SET) if tag in held} if wanted else held
    complete = all(tag in held for tag in wanted or ())
    status = Status.SUCCESS if complete else NOT_ALL_SUPPORTED
    return Response(response_to(request.command, status), write(given, request.transfer_syntax))
