"""Query SCP (PS3.4 C): C-FIND of Patient Root, Study Root and Patient/Study Only, answered by archives.

`FindSCP` is what query and worklist have in common: a request is checked, its routes say which archives are asked,
their answers go out as pending responses, and the final response says whether they are all: 0000H if every archive has
said that it has sent all that it knows, else a failure that names an archive, unless `partial` allows it to be missing.
Not here: asking (`fan_out`, `ask`), and Modality Worklist (`worklist`).
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from attrs import evolve

from pdu import ContextResult
from router.concurrency import compute
from router.config import Config, Listener, Peer, ServiceOptions
from router.dicom.dataset import DataSet, items
from router.dicom.element_values import Raw, search, texts
from router.dicom.encoding import MalformedDataSet
from router.dicom.information_models import (
    QUERY_RETRIEVE_LEVEL,
    QUERY_RETRIEVE_MODELS,
    WORKLIST,
    InformationModel,
)
from router.dimse import DATA_SET, Command, CommandField, Priority, Response, Status, describe, response_to
from router.routing import Facts
from router.services.base import (
    SCP,
    Allowance,
    Change,
    ConversationEnded,
    Proposal,
    Replies,
    Request,
    Sender,
    ServiceContext,
)
from router.services.conversations import Conversation
from router.services.query import extended
from router.services.query.ask import Outcome
from router.services.query.fan_out import Archive, FindEnd, FindQuery, find_at_all
from router.services.query.habits import CannotAsk, keys_to_compare, model_towards, queries_for
from router.services.query.identifier import (
    ACCEPTED_SYNTAXES,
    LARGEST,
    InvalidIdentifier,
    check_identifier,
    decode_identifier,
    encode_identifier,
    level_of,
)
from router.services.query.identity import Identity, identity_of, with_identity
from router.services.query.matching import Matching, widened
from router.services.query.merge import Answer
from router.services.query.options import (
    QUERY_OPTIONS,
    FindRouteOptions,
    FindSettings,
    PeerFind,
    QueryRouteOptions,
    QuerySettings,
    query_of,
)
from router.services.query.routes import FindPlan, FindRoutes
from router.services.refusal import refuse
from router.spool import Incoming


class FindSCP(SCP):
    """C-FIND of some information models."""

    requests: ClassVar[frozenset[int]] = frozenset({CommandField.C_FIND_RQ})
    parallel: ClassVar[bool] = True
    conversational: ClassVar[bool] = True

    models: ClassVar[Mapping[str, InformationModel]]
    """By SOP Class UID."""
    settings: ClassVar[type[FindSettings]]
    route_options: ClassVar[type[FindRouteOptions]]

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._last_extended = context.last_extended
        self.prepare(context.config)()

    def prepare(self, config: Config) -> Change:
        return partial(self._use, config, FindRoutes(config.routes, self.name, self.route_options))

    def _use(self, config: Config, routes: FindRoutes) -> None:
        self._settings: FindSettings = config.options[self.settings]
        self._title = config.router.ae_title
        self._peers = config.peers
        self._routes = routes

    @abstractmethod
    def habits_of(self, peer: Peer) -> PeerFind:
        """Return the habits of a peer."""

    @abstractmethod
    def identity_of(self, level: str, data_set: DataSet, issuer: str) -> Identity | None:
        """Return the identity of a record; `issuer` is that of patient IDs that come without one."""

    # Negotiation

    def negotiate(self, proposal: Proposal) -> str | ContextResult | None:
        if not self._routes or proposal.abstract_syntax not in self.models:
            return None
        if self._settings.denied == "context" and not self._may_ask(proposal.requestor):
            return ContextResult.USER_REJECTION
        return proposal.choose(ACCEPTED_SYNTAXES.__contains__, self._settings.prefer, ACCEPTED_SYNTAXES)

    def extended(self, proposal: Proposal) -> bytes | None:
        if proposal.extended is None or not self._routes:
            return None
        model = self.models[proposal.abstract_syntax]
        facts = self._facts(proposal.requestor, proposal.abstract_syntax, model)
        last = [self._last_of(name, model) for name in self._routes.reachable(facts)]
        return extended.negotiated(proposal.extended, last, is_worklist=model is WORKLIST)

    def _last_of(self, name: str, model: InformationModel) -> bytes | None:
        peer = self._peers[name]
        habits = self.habits_of(peer)
        return self._last_extended.get((peer.ae_for(habits).name, model_towards(model, habits).find))

    def _may_ask(self, sender: Sender) -> bool:
        return self._settings.calling_ae.matches(sender.calling_ae)

    # Requests

    def admit(self, request: Request) -> Command | Allowance:
        if not self._may_ask(request.sender):
            return refuse(request, Status.NOT_AUTHORIZED, f"{request.sender.calling_ae} may not query here")
        if request.command.affected_sop_class_uid != request.abstract_syntax:
            message = "the SOP class is not that of the presentation context"
            return refuse(request, Status.SOP_CLASS_NOT_SUPPORTED, message)
        if not request.command.has_data_set:
            message = "there is no identifier"
            return refuse(request, Status.DATA_SET_DOES_NOT_MATCH, message, offending_element=(QUERY_RETRIEVE_LEVEL,))
        return Allowance(largest=LARGEST, from_reserve=True)

    async def perform(self, request: Request, data: Incoming | None, replies: Replies) -> Response:
        assert data is not None, "admit() refuses requests without an identifier"
        with data.view() as view:
            encoded = bytes(view)
        model = self.models[request.abstract_syntax]
        relational = extended.says(request.terms.extended, extended.RELATIONAL)
        try:
            keys = await compute(len(encoded), partial(decode_identifier, encoded, request.transfer_syntax))
            check_identifier(keys, model, relational=relational)
        except MalformedDataSet as error:
            return Response(refuse(request, Status.DATA_SET_DOES_NOT_MATCH, f"the identifier cannot be read: {error}"))
        except InvalidIdentifier as error:
            details: dict[str, Any] = {"offending_element": error.elements}
            return Response(refuse(request, Status.DATA_SET_DOES_NOT_MATCH, error.reason, **details))
        facts = evolve(
            self._facts(request.sender, request.abstract_syntax, model),
            transfer_syntax=request.transfer_syntax,
            elements=_elements(keys, self._routes.elements),
            level=level_of(keys),
        )
        plan = self._routes.plan_for(facts)
        if plan is None:
            return Response(refuse(request, Status.UNABLE_TO_PROCESS, "no route leads this query to an archive"))
        with self._begin(request, model, level_of(keys)) as conversation:
            query = await compute(len(encoded), partial(self._query, request, model, keys, plan))
            response = await self._answer_query(request, query, conversation, replies)
            conversation.finish(describe(response.status, "query"))
            return response

    def _begin(self, request: Request, model: InformationModel, level: str) -> Conversation:
        sender = request.sender
        return self._context.conversations.begin(
            service=self.name,
            calling_ae=sender.calling_ae,
            called_ae=sender.called_ae,
            peer=sender.peer,
            association=request.association,
            what=f"C-FIND {level} ({model.title})" if level else f"C-FIND ({model.title})",
        )

    def _facts(self, sender: Sender, sop_class: str, model: InformationModel) -> Facts:
        """Return the facts of an association."""
        return Facts(
            service=self.name,
            calling_ae=sender.calling_ae,
            called_ae=sender.called_ae,
            peer=sender.peer,
            sop_class=sop_class,
            transfer_syntax="",
            information_model=model.name,
        )

    def _query(self, request: Request, model: InformationModel, keys: DataSet, plan: FindPlan) -> FindQuery:
        level = "" if model is WORKLIST else level_of(keys)
        asked = with_identity(keys, level)
        combined = bool(level) and extended.says(request.terms.extended, extended.DATE_TIME)
        sent = widened(asked) if combined else asked
        listener = request.sender.listener
        return FindQuery(
            keys=keys,
            level=level,
            priority=request.command.priority or Priority.MEDIUM,
            archives=tuple(
                self._archive(name, options, request, model, keys, sent, combined) for name, options in plan.archives
            ),
            is_ordered=plan.is_ordered,
            limit=plan.limit,
            rules=Matching(exact_names=self._settings.person_names == "exact", combined=combined),
            retrieve_ae=_title_of(listener, self._title) if level else "",
            identity_of=partial(self.identity_of, level),
        )

    def _archive(
        self,
        name: str,
        options: FindRouteOptions,
        request: Request,
        model: InformationModel,
        keys: DataSet,
        asked: DataSet,
        combined: bool,
    ) -> Archive:
        """Return an archive that is asked `asked`, for the keys of the client."""
        peer = self._peers[name]
        habits = self.habits_of(peer)
        cannot = ""
        try:
            queries = queries_for(asked, model, habits)
        except CannotAsk as error:
            queries, cannot = (), str(error)
        proposal = extended.proposal(asked, request.terms.extended, is_worklist=model is WORKLIST)
        return Archive(
            name=name,
            ae=peer.ae_for(habits).name,
            queries=queries,
            cannot=cannot,
            deadlines=options.deadlines,
            may_fail=options.partial == "success",
            issuer=habits.issuer,
            extended=proposal if habits.extended_negotiation else None,
            compared=keys_to_compare(keys, habits),
            is_compared=combined or bool(habits.character_set),
        )

    async def _answer_query(
        self, request: Request, query: FindQuery, conversation: Conversation, replies: Replies
    ) -> Response:
        """Ask the archives, send their answers, and return the final response.

        Raises:
            ConversationEnded: the association has ended.
        """
        plain = self._settings.plain_pending.matches(request.sender.calling_ae)

        commands: dict[int, Command] = {
            status: response_to(request.command, Status.PENDING if plain else status, data_set_type=DATA_SET)
            for status in (Status.PENDING, Status.PENDING_WITH_WARNING)
        }

        async def send(answers: Sequence[Answer]) -> None:
            syntax = request.transfer_syntax
            await replies.send(
                *(Response(commands[one.status], encode_identifier(one.identifier, syntax)) for one in answers)
            )

        end = await find_at_all(query, self._context.peers, conversation, send, replies.cancelled)
        for archive in query.archives:
            self._remember(archive, end.outcomes[archive.name])
        if end.has_ended:
            raise ConversationEnded
        if replies.cancelled.is_set():
            return Response(response_to(request.command, Status.CANCEL))
        return Response(_final(request, query, end))

    def _remember(self, archive: Archive, outcome: Outcome) -> None:
        if outcome.has_associated:
            self._last_extended[archive.ae, archive.queries[0].sop_class] = outcome.extended


def _title_of(listener: Listener | None, title: str) -> str:
    return listener.ae_title if listener else title


def _elements(keys: DataSet, wanted: frozenset[int]) -> dict[int, tuple[str, ...]]:
    """Return the values of the wanted keys, those in the item of the scheduled procedure step too."""
    found: dict[int, Raw] = {}
    for data_set in (*(item for tag in keys for item in items(keys, tag)), keys):
        for tag, (vr, value) in data_set.items():
            if isinstance(value, bytes) and (tag in wanted or tag == 0x00080005):
                found[tag] = Raw(vr.encode(), value, "<")
    return texts(found, search(wanted))


def _final(request: Request, query: FindQuery, end: FindEnd) -> Command:
    """Return the final response of a query that the client has not cancelled."""
    if end.is_limited:
        message = f"there are more than {query.limit} matches: ask for less"
        return refuse(request, Status.OUT_OF_RESOURCES, message)
    missing = {name: one for name, one in end.outcomes.items() if not one.is_complete}
    needed = [archive.name for archive in query.archives if archive.name in missing and not archive.may_fail]
    if not needed and len(missing) < len(end.outcomes):
        return response_to(request.command, Status.SUCCESS)
    first = missing[(needed or list(missing))[0]]
    if len(query.archives) == 1 and first.status is not None and first.status != Status.CANCEL:
        # the word of the only archive is passed on as it is
        details: dict[str, Any] = {"offending_element": first.offending} if first.offending else {}
        return response_to(request.command, first.status, error_comment=first.comment or None, **details)
    named = ", ".join(needed or missing)
    why = first.cause or f"it failed with {first.status:04X}H"
    return refuse(request, Status.UNABLE_TO_PROCESS, f"no full answer from {named}: {why}")


class Query(FindSCP):
    """C-FIND of the Query/Retrieve information models."""

    name: ClassVar[str] = "query"
    options: ClassVar[ServiceOptions] = QUERY_OPTIONS
    models: ClassVar[Mapping[str, InformationModel]] = {model.find: model for model in QUERY_RETRIEVE_MODELS}
    settings: ClassVar[type[FindSettings]] = QuerySettings
    route_options: ClassVar[type[FindRouteOptions]] = QueryRouteOptions

    def habits_of(self, peer: Peer) -> PeerFind:
        return query_of(peer)

    def identity_of(self, level: str, data_set: DataSet, issuer: str) -> Identity | None:
        return identity_of(data_set, level, issuer)
