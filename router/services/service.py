"""What a service class is to the rest of the house.

A service is one file beside this one and one line in `router/services/__init__.py`. As SCP it says which
presentation contexts are its own, may refuse a request by its command set alone, and performs the rest. As SCU it
says what the peer's answer means for the delivery. It never sees a socket; what it accepts, it gives to the spool.
"""

from typing import ClassVar, Protocol

from attrs import frozen

from pdu import ContextResult, PresentationContext
from router.config import Config
from router.dimse import Command
from router.messages import Result
from router.spool import Incoming, Spool


@frozen(kw_only=True)
class Sender:
    """Who is at the other end of an incoming association."""

    calling_ae: str
    called_ae: str
    peer: str
    """IP address."""


@frozen(kw_only=True)
class Request:
    """One request as it came, without its data set."""

    sender: Sender
    abstract_syntax: str
    transfer_syntax: str
    command: Command
    command_bytes: bytes


class Service(Protocol):
    """One service class, both roles."""

    name: ClassVar[str]
    """As `service` in a route names it."""
    routed: ClassVar[bool]
    """Whether there are routes for it."""
    requests: ClassVar[frozenset[int]]
    """The Command Fields that the SCP performs."""

    def __init__(self, config: Config, spool: Spool) -> None: ...

    def judge(self, context: PresentationContext) -> str | ContextResult | None:
        """The transfer syntax to accept, the reason to refuse, or None: not this service's abstract syntax."""

    def refuse(self, request: Request) -> Command | None:
        """The response, where the command set alone says no. The data set is then read and dropped."""

    async def perform(self, request: Request, data: Incoming | None) -> Command:
        """Do what is asked, and give the response. `data` is whole; what is not committed is discarded for it."""

    def outcome(self, status: int) -> Result:
        """What the answer of a destination means for the delivery (DESIGN: delivered, retry or held)."""

    def reload(self, config: Config) -> None:
        """Judge what comes next by another configuration."""
