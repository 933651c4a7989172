"""A simulated archive: it answers queries about its images, and sends them to the one AE that it knows."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import trio

from pdu import ContextResult
from router.association import InMemory, RemoteAE, Requestor, plan_contexts
from router.config import Config
from router.dicom.dataset import DataSet, element, identifier
from router.dicom.information_models import LEVELS, QUERY_RETRIEVE_LEVEL, QUERY_RETRIEVE_MODELS, UNIQUE_KEYS
from router.dicom.tags import RETRIEVE_AE_TITLE
from router.dimse import DATA_SET, Command, CommandField, Priority, Response, Status, response_to
from router.services import Proposal, Replies, Request
from router.services.query.identifier import ACCEPTED_SYNTAXES, decode_identifier, encode_identifier
from router.spool import Incoming
from router.tools.demo.ris import SimulatedPeer
from router.tools.send import Instance

_MODELS = frozenset(uid for model in QUERY_RETRIEVE_MODELS for uid in (model.find, model.move))


class SimulatedArchive(SimulatedPeer):
    """An archive with some images, each with the values that it is found by."""

    requests: ClassVar[frozenset[int]] = frozenset({CommandField.C_FIND_RQ, CommandField.C_MOVE_RQ})
    conversational: ClassVar[bool] = True

    def __init__(self, title: str, images: Sequence[tuple[Instance, Mapping[int, str]]]) -> None:
        super().__init__(title)
        self._images = images
        self.known: RemoteAE | None = None
        """The only AE that it sends to."""
        self.sent = 0
        """Images that it has sent."""

    def negotiate(self, proposal: Proposal) -> str | ContextResult | None:
        if proposal.abstract_syntax not in _MODELS:
            return None
        return proposal.choose(ACCEPTED_SYNTAXES.__contains__, (), ACCEPTED_SYNTAXES)

    async def perform(self, request: Request, data: Incoming | None, replies: Replies) -> Response:
        assert data is not None, "the router sends nothing else"
        with data.view() as view:
            keys = decode_identifier(bytes(view), request.transfer_syntax)
        if request.command.field == CommandField.C_MOVE_RQ:
            return await self._send_images(request, keys)
        for answer in self._answers(keys):
            response = response_to(request.command, Status.PENDING)
            await replies.send(Response(response, encode_identifier(answer, request.transfer_syntax)))
        return Response(response_to(request.command, Status.SUCCESS))

    def _answers(self, keys: DataSet) -> list[DataSet]:
        """Return one answer for each value of the level's unique key."""
        level = identifier(keys, QUERY_RETRIEVE_LEVEL)
        answers: dict[str, DataSet] = {}
        for _, values in self._matching(keys):
            answer = {tag: element(vr, values[tag]) for tag, (vr, _) in keys.items() if tag in values}
            answer[QUERY_RETRIEVE_LEVEL] = element("CS", level)
            answer[RETRIEVE_AE_TITLE] = element("AE", self.title)
            answers.setdefault(values[UNIQUE_KEYS[level]], answer)
        return list(answers.values())

    def _matching(self, keys: DataSet) -> list[tuple[Instance, Mapping[int, str]]]:
        """Return the images with the values of the unique keys."""
        wanted = {UNIQUE_KEYS[level]: identifier(keys, UNIQUE_KEYS[level]) for level in LEVELS}
        given = {tag: set(value.split("\\")) for tag, value in wanted.items() if value}
        return [one for one in self._images if all(one[1][tag] in values for tag, values in given.items())]

    async def _send_images(self, request: Request, keys: DataSet) -> Response:
        command = request.command
        if self.known is None or command.move_destination != self.known.called_ae:
            return Response(response_to(command, Status.MOVE_DESTINATION_UNKNOWN))
        images = [instance for instance, _ in self._matching(keys)]
        contexts = plan_contexts([instance.syntaxes for instance in images])
        async with await Requestor.open(self.known, contexts, Config().timeouts) as association:
            for instance in images:
                data = (await trio.Path(instance.path).read_bytes())[instance.offset :]
                store = _store_request(instance, request)
                await association.request(association.contexts[instance.syntaxes], store, InMemory(data))
                self.sent += 1
        done = response_to(command, Status.SUCCESS)
        return Response(done.changed(number_of_completed_suboperations=len(images)))


def _store_request(instance: Instance, request: Request) -> Command:
    return Command(
        field=CommandField.C_STORE_RQ,
        affected_sop_class_uid=instance.sop_class_uid,
        affected_sop_instance_uid=instance.sop_instance_uid,
        priority=Priority.MEDIUM,
        move_originator_ae_title=request.sender.calling_ae,
        move_originator_message_id=request.command.message_id,
        data_set_type=DATA_SET,
    )


def described(images: Sequence[Instance], study: str, patient: str) -> list[tuple[Instance, Mapping[int, str]]]:
    """Return images with the values by which an archive finds them, as one series of a study."""
    return [
        (
            image,
            {
                0x00100020: patient,
                0x00100010: f"Demo^{patient}",
                0x00081030: f"Study {study.rpartition('.')[2]}",
                0x0020000D: study,
                0x0020000E: f"{study}.1",
                0x00080018: image.sop_instance_uid,
                0x00080016: image.sop_class_uid,
            },
        )
        for image in images
    ]
