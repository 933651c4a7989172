"""Storage Commitment Push Model (PS3.4 J): a modality asks once, every archive is asked, and their reports decide.

As SCP towards modalities: a request is checked and durable before its response is 0000H; then its actor carries it out.
As SCU towards archives: their reports are accepted on the association that the router opened and on one that they
open, from the AE that was asked only, and are durable before the response. Not here: the merge of reports
(transaction.py), the actor of a transaction (transaction_actor.py), the router's own requests (retention.py).
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
from router.services.commitment import archive_store, attributes, messages, transaction_store
from router.services.commitment.attributes import CommitmentRequest, EventReport, RefusedRequest
from router.services.commitment.options import OPTIONS, SERVICE, CommitmentSettings, commitment_ae, commitment_of
from router.services.commitment.policy import CommitmentRoutes, RequestPolicy
from router.services.commitment.retention import Retention
from router.services.commitment.runner import TransactionRunner
from router.services.commitment.stored_transaction import StoredTransaction, TransactionStage
from router.services.commitment.transaction import COMMITTED, ArchiveReport, ArchiveResult
from router.services.refusal import refuse, refuse_for_space
from router.services.uncompressed_deliveries import UncompressedDeliveries
from router.spool import Incoming, OutOfSpace

LARGEST: Final = 64 << 20
"""Bytes of the longest data set: 400 000 instances of some 150 bytes."""
_REMOVAL_INTERVAL: Final = 3600.0
"""Seconds between two removals of expired transactions."""
_STANDARD: Final = "1.2.840.10008."
"""Root of the UIDs that the standard defines."""

log = structlog.get_logger()


class StorageCommitment(SCP, UncompressedDeliveries, DeliveryPolicy):
    """N-ACTION and N-EVENT-REPORT, in both roles."""

    name: ClassVar[str] = SERVICE
    options: ClassVar[ServiceOptions] = OPTIONS
    requests: ClassVar[frozenset[int]] = frozenset({CommandField.N_ACTION_RQ, CommandField.N_EVENT_REPORT_RQ})

    def __init__(self, context: ServiceContext) -> None:
        self._spool, self._state = context.spool, context.state
        self._state.define(transaction_store.SCHEMA, transaction_store.migrate)
        self._retention = Retention(context.config, context.spool, context.state, self._start)
        self._transactions = TransactionRunner(
            context.spool, context.state, self._destination_of, self._retention.apply_outcome
        )
        self.prepare(context.config)()

    def prepare(self, config: Config) -> Change:
        return partial(self._adopt, config, CommitmentRoutes(config.routes, config.options[CommitmentSettings]))

    def _adopt(self, config: Config, routes: CommitmentRoutes) -> None:
        self._settings = config.options[CommitmentSettings]
        self._largest = min(LARGEST, config.limits.object_size or LARGEST)
        self._peers = config.peers
        self._routes = routes
        self._retention.reload(config)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._transactions.run)
            nursery.start_soon(self._retention.run)
            while True:
                await self._remove_expired()
                await trio.sleep(_REMOVAL_INTERVAL)

    async def _remove_expired(self) -> None:
        """Remove the transactions that have been finished for `commitment.keep`."""
        work = partial(transaction_store.remove_finished, before=self._spool.clock() - self._settings.keep)
        while await self._state.change(work) == transaction_store.REMOVED_AT_ONCE:
            pass

    def _start(self, transaction: StoredTransaction) -> None:
        self._transactions.start(transaction)

    # Negotiation

    def negotiate(self, proposal: Proposal) -> str | ContextResult | None:
        if proposal.abstract_syntax != attributes.STORAGE_COMMITMENT:
            return None
        return proposal.choose(TRANSFER_SYNTAXES.__contains__, self._settings.prefer, TRANSFER_SYNTAXES)

    def roles(self, proposal: Proposal) -> tuple[bool, bool]:
        """Allow both: a modality requests as SCU, and an archive reports as SCP (PS3.4 J.3.3)."""
        return True, True

    def proposes(self, abstract_syntax: str) -> RoleSelection | None:
        if abstract_syntax != attributes.STORAGE_COMMITMENT:
            return None
        return RoleSelection(sop_class_uid=abstract_syntax, scu_role=True, scp_role=True)

    # Requests of modalities, and reports of archives

    def admit(self, request: Request) -> Command | Allowance:
        command = request.command
        if command.sop_class_uid != attributes.STORAGE_COMMITMENT:
            return refuse(request, Status.NO_SUCH_SOP_CLASS, "SOP class is not Storage Commitment Push Model")
        if command.sop_instance_uid != attributes.WELL_KNOWN_INSTANCE:
            other = command.sop_instance_uid.startswith(_STANDARD)
            status = Status.CLASS_INSTANCE_CONFLICT if other else Status.NO_SUCH_SOP_INSTANCE
            return refuse(request, status, "not the well-known instance of Storage Commitment")
        if command.field == CommandField.N_ACTION_RQ:
            if command.action_type_id != attributes.REQUEST_ACTION:
                return refuse(request, Status.NO_SUCH_ACTION, "Request Storage Commitment is action type 1")
            if not self._settings.calling_ae.matches(request.sender.calling_ae):
                return refuse(request, Status.NOT_AUTHORIZED, "you may not ask for storage commitment here")
        if not command.has_data_set:
            return refuse(request, Status.MISSING_ATTRIBUTE_VALUE, f"{command.name} without a data set")
        is_report = command.field == CommandField.N_EVENT_REPORT_RQ
        return Allowance(largest=self._largest, from_reserve=is_report)

    async def perform(self, request: Request, data: Incoming | None, replies: Replies) -> Response:
        assert data is not None, "admit() refuses messages without a data set"
        with data.view() as view:
            encoded = bytes(view)
        is_request = request.command.field == CommandField.N_ACTION_RQ
        perform = self._perform_action if is_request else self._perform_event_report
        try:
            return Response(await perform(request, encoded))
        except RefusedRequest as error:
            elements: dict[str, Any] = {"offending_element": error.elements} if error.elements else {}
            return Response(refuse(request, error.status, error.reason, **elements))
        except OutOfSpace:
            return Response(refuse_for_space(request))

    async def _perform_action(self, request: Request, encoded: bytes) -> Command:
        """Perform an N-ACTION of a modality.

        Raises:
            RefusedRequest: the data set is not acceptable, or its Transaction UID was used for another request.
            OutOfSpace: nothing has changed.
        """
        work = partial(attributes.read_request, encoded, request.transfer_syntax)
        received = await compute(len(encoded), work)
        policy = self._policy_for(request)
        fresh = await compute(len(encoded), partial(self._new_transaction, request, received, policy))
        add = partial(
            transaction_store.add, transaction=fresh, references=received.references, archives=policy.archives
        )
        stored, is_new = await self._state.change(add)
        if is_new:
            self._transactions.start(stored)
            log.info(
                "commitment asked for",
                calling_ae=stored.calling_ae,
                transaction_uid=stored.uid,
                instances=stored.count,
                archives=policy.archives or "those that got the instances",
                reply_to=stored.reply_to,
            )
        elif stored.fingerprint != fresh.fingerprint or stored.calling_ae != fresh.calling_ae:
            reason = "the Transaction UID is that of another request"
            raise RefusedRequest(Status.DUPLICATE_TRANSACTION_UID, reason, attributes.TRANSACTION_UID)
        elif stored.stage is TransactionStage.FINISHED:  # the modality has missed the report: send it once more
            decided = TransactionStage.DECIDED
            await self._state.change(partial(transaction_store.set_stage, number=stored.id, stage=decided))
            self._transactions.start(evolve(stored, stage=decided))
        return response_to(request.command, Status.SUCCESS, action_type_id=attributes.REQUEST_ACTION)

    def _policy_for(self, request: Request) -> RequestPolicy:
        sender = request.sender
        return self._routes.policy_for(
            Facts(
                service=self.name,
                calling_ae=sender.calling_ae,
                called_ae=sender.called_ae,
                peer=sender.peer,
                sop_class=attributes.STORAGE_COMMITMENT,
                transfer_syntax=request.transfer_syntax,
            )
        )

    def _new_transaction(
        self, request: Request, received: CommitmentRequest, policy: RequestPolicy
    ) -> StoredTransaction:
        sender = request.sender
        peer = self._peer_of(sender.calling_ae)
        reports_elsewhere = peer.address is not None and commitment_of(peer).reply == "new"
        return StoredTransaction(
            uid=received.transaction_uid,
            fingerprint=_fingerprint(received),
            stage=TransactionStage.OPEN if policy.archives else TransactionStage.TAKEN,
            calling_ae=sender.calling_ae,
            called_ae=sender.called_ae,
            address=sender.peer,
            reply_to=peer.name,
            transfer_syntax=IMPLICIT_LE if reports_elsewhere else request.transfer_syntax,
            steps=attributes.write_steps(received),
            received=time.time(),
            accepted_at=self._spool.clock(),
            grace=policy.grace,
            deadline=policy.deadline,
            policies=(policy.policy,) if policy.archives else (),
            count=len(received.references),
        )

    async def _perform_event_report(self, request: Request, encoded: bytes) -> Command:
        """Perform an N-EVENT-REPORT of an archive, on any association that was opened by or to the AE that was asked.

        Raises:
            RefusedRequest: the data set is not acceptable, or another AE was asked under its Transaction UID.
            OutOfSpace: nothing has changed.
        """
        command, title = request.command, request.sender.calling_ae
        event_type = command.event_type_id or 0
        work = partial(attributes.read_report, encoded, request.transfer_syntax, event_type)
        received = await compute(len(encoded), work)
        known = await self._state.read(partial(archive_store.find, uid=received.transaction_uid))
        if known is None:
            reason = "this router has no such transaction with you"
            raise RefusedRequest(Status.INVALID_ARGUMENT_VALUE, reason, attributes.TRANSACTION_UID)
        number, archive = known
        peer = self._peers.get(archive)
        if peer is None or commitment_ae(peer).ae_title != title:
            raise RefusedRequest(Status.NOT_AUTHORIZED, f"{title} was not asked in this transaction")
        report, failed = await compute(len(encoded), partial(_report_of, archive, received, peer.retrieve_title))
        await self._state.change(partial(archive_store.add_report, number=number, report=report))
        log.info(
            "archive has reported",
            archive=archive,
            commitment=number,
            committed=len(report.results) - failed,
            failed=failed,
        )
        self._transactions.report_stored(number)
        return response_to(command, Status.SUCCESS, event_type_id=event_type)

    # Deliveries of N-ACTIONs to archives and of reports to modalities

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

    # Peers

    def _peer_of(self, title: str) -> Peer:
        """Return the AE that reports to a requestor go to, by the title that it calls under.

        The title may be that of a peer or that of the peer's AE for storage commitment. Of several peers, one with an
        address is preferred. An AE without an entry gets its reports on associations that it opens.
        """
        aes = ((peer, commitment_ae(peer)) for peer in self._peers.values())
        found = [ae for peer, ae in aes if title in (peer.ae_title, ae.ae_title)]
        found.sort(key=lambda ae: ae.address is None)
        return found[0] if found else unconfigured_peer(title)

    def _destination_of(self, archive: str) -> str:
        """Return the destination of N-ACTIONs to an archive."""
        peer = self._peers.get(archive)
        return archive if peer is None else commitment_ae(peer).name


def _report_of(archive: str, received: EventReport, retrieve_title: str) -> tuple[ArchiveReport, int]:
    """Return the report of an archive, and the number of its failures.

    Instances that it commits to without a Retrieve AE Title get this one.
    """
    committed = ArchiveResult(COMMITTED, retrieve_title)
    results = {
        uid: committed if result.reason == COMMITTED and not result.retrieve_ae else result
        for uid, result in received.results.items()
    }
    failed = sum(result.reason != COMMITTED for result in results.values())
    return ArchiveReport(archive=archive, results=results), failed


def _fingerprint(request: CommitmentRequest) -> bytes:
    """Return a hash that is equal for the same instances in any order."""
    pairs = sorted((one.sop_class_uid, one.sop_instance_uid) for one in request.references)
    return hashlib.sha256(repr(pairs).encode()).digest()
