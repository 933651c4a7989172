"""A modality and a RIS for tests: the one says what it is told to, the other keeps steps as the standard says and
fails as its script says."""

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs
import trio
from pydicom.dataset import Dataset

from pdu import Overtaken
from router.association.transport import Transport, TransportError
from router.config import Config
from router.dicom.dataset import read, text
from router.dicom.uids import EXPLICIT_LE
from router.dimse import (
    DATA_SET,
    Command,
    CommandField,
    MessageBegin,
    Response,
    Status,
    decode,
    encode,
    response_to,
)
from router.services.mpps.attributes import MPPS, STATUS
from tests.support.harness import Archive, Modality, configuration, eventually, p_data
from tests.support.mpps_messages import encoded

N_CREATE, N_SET = CommandField.N_CREATE_RQ, CommandField.N_SET_RQ
LAST = ("COMPLETED", "DISCONTINUED")


@attrs.define
class Heard:
    """One message as the RIS received it."""

    kind: str
    uid: str
    status: str
    """Performed Procedure Step Status in it; "" where it has none."""
    answer: int | str
    transfer_syntax: str
    command: Command
    data: bytes


Fault = int | str
"""A status instead of what the message deserves; "abort" or "close" before it is carried out; "abort after" or
"silence" once it is."""


@attrs.define
class RIS(Archive):
    """An SCP of Modality Performed Procedure Step that remembers steps in memory."""

    heard: list[Heard] = attrs.field(factory=list)
    steps: dict[str, str] = attrs.field(factory=dict)
    """Their state by UID."""
    faults: deque[Fault | None] = attrs.field(factory=deque)
    """For the messages to come, one each; None is none."""
    says_why: bool = True
    """0110H comes with the Error ID that says that the step has ended."""
    judged: Callable[[Heard], Fault | None] = lambda heard: None

    def messages(self, uid: str = "") -> list[tuple[str, str, int | str]]:
        """(kind, state, answer) of all it heard, or of one step."""
        return [(one.kind, one.status, one.answer) for one in self.heard if not uid or one.uid == uid]

    async def until(self, uid: str, state: str) -> None:
        """Wait until a step has come to this."""

        async def reached() -> bool:
            return self.steps.get(uid) == state

        await eventually(reached)

    async def _answer(self, transport: Transport, begin: MessageBegin, data: bytes) -> None:
        command = begin.command
        syntax = transport.upper_layer.contexts[begin.context_id].transfer_syntax
        state = text(read(data, syntax), STATUS) if data else ""
        one = Heard(command.name, command.sop_instance_uid, state, 0, syntax, command, data)
        fault = self.faults.popleft() if self.faults else self.judged(one)
        carried_out = fault in (None, "abort after", "silence")
        one.answer = self._carry_out(one) if carried_out else fault or 0
        if fault in ("abort after", "silence"):
            one.answer = fault or 0
        self.heard.append(one)
        match fault:
            case "silence":
                await trio.sleep_forever()
            case "abort" | "abort after":
                await transport.tell(transport.upper_layer.abort)
            case "close":
                transport.close()
            case _:
                with suppress(Overtaken, TransportError):  # whoever asked may have gone
                    await self._respond(transport, begin.context_id, self._response(one))

    def _response(self, one: Heard) -> Command:
        status = int(one.answer)
        details = {"error_id": 0xA710} if status == Status.PROCESSING_FAILURE and self.says_why else {}
        return response_to(one.command, status, **details)

    def _carry_out(self, one: Heard) -> int:
        """PS3.4 F.7.2."""
        if one.command.field == N_CREATE and one.command.sop_class_uid == MPPS:
            if one.uid in self.steps:
                return Status.DUPLICATE_SOP_INSTANCE
            self.steps[one.uid] = one.status
        elif one.command.field == N_SET:
            if one.uid not in self.steps:
                return Status.NO_SUCH_SOP_INSTANCE
            if self.steps[one.uid] in LAST:
                return Status.PROCESSING_FAILURE
            self.steps[one.uid] = one.status or self.steps[one.uid]
        return Status.SUCCESS


class Scanner:
    """A modality with one open association for procedure steps."""

    def __init__(self, modality: Modality, transfer_syntax: str) -> None:
        self._modality = modality
        self._transfer_syntax = transfer_syntax

    @classmethod
    @asynccontextmanager
    async def connected(
        cls, port: int, *, transfer_syntax: str = EXPLICIT_LE, sop_class: str = MPPS, calling: str = "MODALITY"
    ) -> AsyncIterator["Scanner"]:
        async with Modality.connected(port) as modality:
            answer = await modality.associate((sop_class, (transfer_syntax,)), calling=calling)
            assert [context.result for context in answer.presentation_contexts] == [0]
            yield cls(modality, transfer_syntax)

    @staticmethod
    def create_command(uid: str | None) -> Command:
        return Command(field=N_CREATE, message_id=1, affected_sop_class_uid=MPPS, affected_sop_instance_uid=uid)

    @staticmethod
    def set_command(uid: str) -> Command:
        return Command(field=N_SET, message_id=1, requested_sop_class_uid=MPPS, requested_sop_instance_uid=uid)

    async def create(self, uid: str | None, data_set: Dataset) -> Response:
        """N-CREATE."""
        return await self.say(self.create_command(uid), data_set)

    async def set(self, uid: str, data_set: Dataset) -> Response:
        """N-SET."""
        return await self.say(self.set_command(uid), data_set)

    async def say(self, command: Command, data_set: Dataset | None = None) -> Response:
        """Any request, and its whole response."""
        await self.tell(command, data_set)
        return await self.hear()

    async def tell(self, command: Command, data_set: Dataset | bytes | None = None) -> None:
        """Any request, without waiting for its response."""
        if data_set is None:
            await self._modality.say(p_data(1, encode(command), command=True))
            return
        await self._modality.say(p_data(1, encode(attrs.evolve(command, data_set_type=DATA_SET)), command=True))
        data = data_set if isinstance(data_set, bytes) else encoded(data_set, self._transfer_syntax)
        for start in range(0, max(len(data), 1), 16000):
            last = start + 16000 >= len(data)
            await self._modality.say(p_data(1, data[start : start + 16000], command=False, last=last))

    async def hear(self) -> Response:
        command, data = b"", b""
        while True:
            pdu = await self._modality.hear()
            assert pdu is not None, "the router has closed the connection"
            for pdv in pdu.pdvs:
                if pdv.is_command:
                    command += pdv.data
                else:
                    data += pdv.data
                if pdv.is_last and (not pdv.is_command or not decode(command).has_data_set):
                    return Response(decode(command), data)


def hub(folder: Path, *routes: str, top: str = "", extra: str = "", **peers: int) -> Config:
    """A router for procedure steps; `routes` are the bodies of [[routes]]. Without any, every step goes to all."""
    names = ", ".join(f'"{name}"' for name in peers)
    every = f'service = "mpps"\nto = [{names}]'
    lines = []
    for number, route in enumerate(routes or (every,)):
        lines += ["[[routes]]", f'name = "route {number}"', route]
    return configuration(folder, "\n".join([*lines, extra]), router=top, **peers)
