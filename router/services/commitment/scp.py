"""Storage Commitment Push Model (PS3.4 Annex J): asked once, asked again of every archive, answered on their word.

As SCP towards modalities: a request is judged and durable before it is answered 0000H; then its actor sees it
through. As SCU towards archives: their reports are taken on the association that we opened and on one that they open,
from that archive's AE only, and are durable before they are answered. Not here: the merge (`commitment.transaction`),
what an actor does (`commitment.actor`), the router's own requests (`commitment.proactive`).
"""

import hashlib
import time
from functools import partial
from typing import Any, ClassVar, Final

import structlog
import trio
from attrs import evolve

from pdu import ContextResult, RoleSelection
from router.concurrency import compute
from router.config import Config, Peer, ServiceOptions, unconfigured_peer
from router.dicom.dataset import TRANSFER_SYNTAXES
from router.dicom.uids import IMPLICIT_LE
from router.dimse import Command, CommandField, Response, Status, response_to
from router.model import AttemptResult, PendingDelivery, Result
from router.routing import Facts
from router.services.base import SCP, Allowance, Change, DeliveryPolicy, Proposal, Replies, Request, ServiceContext
from router.services.commitment import attributes, messages, transaction_store
from router.services.commitment.attributes import CommitmentRequest, EventReport, RefusedRequest
from router.services.commitment.options import OPTIONS, SERVICE, CommitmentSettings, commitment_ae, commitment_of
from router.services.commitment.policy import CommitmentRoutes
from router.services.commitment.retention import Retention
from router.services.commitment.runner import TransactionRunner
from router.services.commitment.transaction import COMMITTED, ArchiveReport, ArchiveResult
from router.services.commitment.transaction_store import StoredTransaction, TransactionStage
from router.services.encoding import UncompressedDeliveries
from router.services.refusal import refuse, refuse_for_space
from router.spool import Incoming, OutOfSpace

LARGEST: Final = 64 << 20
"""Bytes of a data set; an instance takes some 150."""
_SWEEP: Final = 3600.0
"""Seconds between two looks for transactions to forget."""
_STANDARD: Final = "1.2.840.10008."

log = structlog.get_logger()


class StorageCommitment(SCP, UncompressedDeliveries, DeliveryPolicy):
    """N-ACTION and N-EVENT-REPORT, both roles."""

    name: ClassVar[str] = SERVICE
    options: ClassVar[ServiceOptions] = OPTIONS
    requests: ClassVar[frozenset[int]] = frozenset({CommandField.N_ACTION_RQ, CommandField.N_EVENT_REPORT_RQ})

    def __init__(self, house: ServiceContext) -> None:
        self._spool, self._state = house.spool, house.state
        self._state.define(transaction_store.SCHEMA, transaction_store.migrate)
        self._retention = Retention(house.config, house.spool, house.state, self._begin)
        self._transactions = TransactionRunner(
            house.spool, house.state, self._destination_of, self._retention.apply_outcome
        )
        self.prepare(house.config)()

    def prepare(self, config: Config) -> Change:
        return partial(self._adopt, config, CommitmentRoutes(config.routes, config.options[CommitmentSettings]))

    def _adopt(self, config: Config, planner: CommitmentRoutes) -> None:
        self._settings = config.options[CommitmentSettings]
        self._largest = min(LARGEST, config.limits.object_size or LARGEST)
        self._peers = config.peers
        self._planner = planner
        self._retention.reload(config)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._transactions.run)
            nursery.start_soon(self._retention.run)
            while True:
                await self._forget()
                await trio.sleep(_SWEEP)

    async def _forget(self) -> None:
        """Delete the transactions that are old enough."""
        work = partial(transaction_store.remove_expired, before=self._spool.clock() - self._settings.keep)
        while await self._state.change(work) == transaction_store.FORGOTTEN_AT_ONCE:
            pass

    def _begin(self, commitment: StoredTransaction) -> None:
        self._transactions.start(commitment)

    # Presentation contexts

    def negotiate(self, proposal: Proposal) -> str | ContextResult | None:
        if proposal.abstract_syntax != attributes.STORAGE_COMMITMENT:
            return None
        return proposal.choose(TRANSFER_SYNTAXES.__contains__, self._settings.prefer, TRANSFER_SYNTAXES)

    def roles(self, proposal: Proposal) -> tuple[bool, bool]:
        """A modality asks as SCU; an archive that opens an association to report does so as SCP (PS3.4 J.3.3)."""
        return True, True

    def proposes(self, abstract_syntax: str) -> RoleSelection | None:
        if abstract_syntax != attributes.STORAGE_COMMITMENT:
            return None
        return RoleSelection(sop_class_uid=abstract_syntax, scu_role=True, scp_role=True)

    # As SCP of requests, and as SCU that is reported to

    def admit(self, request: Request) -> Command | Allowance:
        command = request.command
        if command.sop_class_uid != attributes.STORAGE_COMMITMENT:
            return refuse(request, Status.NO_SUCH_SOP_CLASS, "this is not Storage StoredTransaction Push Model")
        if command.sop_instance_uid != attributes.WELL_KNOWN_INSTANCE:
            other = command.sop_instance_uid.startswith(_STANDARD)
            status = Status.CLASS_INSTANCE_CONFLICT if other else Status.NO_SUCH_SOP_INSTANCE
            return refuse(request, status, "this is not the well-known instance of Storage StoredTransaction")
        if command.field == CommandField.N_ACTION_RQ:
            if command.action_type_id != attributes.REQUEST_ACTION:
                return refuse(request, Status.NO_SUCH_ACTION, "Request Storage StoredTransaction is action type 1")
            if not self._settings.calling_ae.matches(request.sender.calling_ae):
                return refuse(request, Status.NOT_AUTHORIZED, "you may not ask for storage commitment here")
        if not command.has_data_set:
            return refuse(request, Status.MISSING_ATTRIBUTE_VALUE, f"{command.name} without a data set")
        is_report = command.field == CommandField.N_EVENT_REPORT_RQ
        return Allowance(largest=self._largest, from_reserve=is_report)

    def _peer_of(self, title: str) -> Peer:
        """Return the AE that reports to a requestor go to, by the title that it calls under.

        The title may be that of a peer or that of the peer's AE for storage commitment. Of several peers, one with an
        address is preferred. An AE without an entry gets its reports on associations that it opens.
        """
        found = [
            commitment_ae(peer)
            for peer in self._peers.values()
            if title in (peer.ae_title, commitment_ae(peer).ae_title)
        ]
        found.sort(key=lambda peer: peer.address is None)
        return found[0] if found else unconfigured_peer(title)

    def _destination_of(self, archive: str) -> str:
        peer = self._peers.get(archive)
        return archive if peer is None else commitment_ae(peer).name

    async def perform(self, request: Request, data: Incoming | None, replies: Replies) -> Response:
        assert data is not None, "admit() lets no message without a data set through"
        with data.view() as view:
            encoded = bytes(view)
        perform = self._asked if request.command.field == CommandField.N_ACTION_RQ else self._reported
        try:
            return Response(await perform(request, encoded))
        except RefusedRequest as error:
            elements: dict[str, Any] = {"offending_element": error.elements} if error.elements else {}
            return Response(refuse(request, error.status, error.reason, **elements))
        except OutOfSpace:
            return Response(refuse_for_space(request))

    async def _asked(self, request: Request, encoded: bytes) -> Command:
        """An N-ACTION of a modality."""
        fresh, archives, asked = await compute(len(encoded), partial(self._commitment, request, encoded))
        take = partial(transaction_store.add, commitment=fresh, references=asked.references, archives=archives)
        known, is_new = await self._state.change(take)
        if is_new:
            self._transactions.start(known)
            log.info(
                "commitment asked for",
                calling_ae=known.calling_ae,
                transaction_uid=known.uid,
                instances=known.count,
                archives=archives or "those that got the instances",
                reply_to=known.reply_to,
            )
        elif known.fingerprint != fresh.fingerprint or known.calling_ae != fresh.calling_ae:
            raise RefusedRequest(
                Status.DUPLICATE_TRANSACTION_UID,
                "the Transaction UID is that of another request",
                attributes.TRANSACTION_UID,
            )
        elif (
            known.stage is TransactionStage.FINISHED
        ):  # whoever asks again has not understood: the same answer once more
            await self._state.change(
                partial(transaction_store.set_stage, number=known.id, stage=TransactionStage.DECIDED)
            )
            self._transactions.start(evolve(known, stage=TransactionStage.DECIDED))
        return response_to(request.command, Status.SUCCESS, action_type_id=attributes.REQUEST_ACTION)

    def _commitment(
        self, request: Request, encoded: bytes
    ) -> tuple[StoredTransaction, tuple[str, ...], CommitmentRequest]:
        """Read a request: as it is to be written down, and the archives, where a route names them.

        Raises:
            RefusedRequest: as `attributes.read_request`.
        """
        asked = attributes.read_request(encoded, request.transfer_syntax)
        sender = request.sender
        peer = self._peer_of(sender.calling_ae)
        terms = self._planner.policy_for(
            Facts(
                service=self.name,
                calling_ae=sender.calling_ae,
                called_ae=sender.called_ae,
                peer=sender.peer,
                sop_class=attributes.STORAGE_COMMITMENT,
                transfer_syntax=request.transfer_syntax,
            )
        )
        elsewhere = peer.address is not None and commitment_of(peer).reply == "new"
        commitment = StoredTransaction(
            uid=asked.transaction_uid,
            fingerprint=_fingerprint(asked),
            stage=TransactionStage.OPEN if terms.archives else TransactionStage.TAKEN,
            calling_ae=sender.calling_ae,
            called_ae=sender.called_ae,
            address=sender.peer,
            reply_to=peer.name,
            transfer_syntax=IMPLICIT_LE if elsewhere else request.transfer_syntax,
            steps=attributes.write_steps(asked),
            received=time.time(),
            accepted_at=self._spool.clock(),
            grace=terms.grace,
            deadline=terms.deadline,
            policies=(terms.policy,) if terms.archives else (),
            count=len(asked.references),
        )
        return commitment, terms.archives, asked

    async def _reported(self, request: Request, encoded: bytes) -> Command:
        """An N-EVENT-REPORT of an archive: on whatever association, but that archive's own."""
        command, title = request.command, request.sender.calling_ae
        event_type = command.event_type_id or 0
        work = partial(attributes.read_report, encoded, request.transfer_syntax, event_type)
        report = await compute(len(encoded), work)
        whose = await self._state.read(partial(transaction_store.find_archive_request, uid=report.transaction_uid))
        if whose is None:
            words = "this router has no such transaction with you"
            raise RefusedRequest(Status.INVALID_ARGUMENT_VALUE, words, attributes.TRANSACTION_UID)
        number, archive = whose
        peer = self._peers.get(archive)
        if peer is None or commitment_ae(peer).ae_title != title:
            raise RefusedRequest(Status.NOT_AUTHORIZED, f"{title} was not asked in this transaction")
        heard, failed = await compute(len(encoded), partial(_heard, report, archive, peer.retrieve_title))
        await self._state.change(partial(transaction_store.add_report, number=number, report=heard))
        log.info(
            "archive has reported",
            archive=archive,
            commitment=number,
            committed=len(heard.results) - failed,
            failed=failed,
        )
        self._transactions.report_stored(number)
        return response_to(command, Status.SUCCESS, event_type_id=event_type)

    # As SCU of requests, and as SCP that reports

    def outcome(self, delivery: PendingDelivery, response: Response) -> Result:
        return messages.outcome(delivery, response)

    def settled(self, delivery: PendingDelivery, result: AttemptResult) -> None:
        if result.result is Result.RETRY:
            return
        if delivery.service != self.name:
            self._transactions.instance_settled(delivery, result.result)
            self._retention.settled(delivery, result.result)
        elif delivery.kind == messages.REQUEST:
            self._transactions.request_settled(delivery, result)


def _heard(report: EventReport, archive: str, retrieve_title: str) -> tuple[ArchiveReport, int]:
    """What an archive says, with its Retrieve AE Title where it gave none, and of how many instances that they have
    failed."""
    words = {
        uid: word if word.reason != COMMITTED or word.retrieve_ae else ArchiveResult(COMMITTED, retrieve_title)
        for uid, word in report.results.items()
    }
    failed = sum(word.reason != COMMITTED for word in words.values())
    return ArchiveReport(archive=archive, results=words), failed


def _fingerprint(asked: CommitmentRequest) -> bytes:
    """The same for the same instances, in whatever order."""
    pairs = sorted((one.sop_class_uid, one.sop_instance_uid) for one in asked.references)
    return hashlib.sha256(repr(pairs).encode()).digest()
