"""What a route may ask about a message: who sent it, what it is, and the elements that the scanner found.

Not here: reading a data set (`scanner`) and asking (`rules`).
"""

from collections.abc import Mapping

from attrs import Factory, frozen


@frozen(kw_only=True)
class Facts:
    """One message, as the routing table sees it."""

    service: str
    """The service class that received it, such as "storage"."""
    calling_ae: str
    called_ae: str
    peer: str
    """The sender's IP address, without port."""
    sop_class: str
    """The affected SOP Class UID."""
    transfer_syntax: str
    """The UID of the transfer syntax of the data set."""
    elements: Mapping[int, tuple[str, ...]] = Factory(dict)
    """The values of each element that stands in the data set, as `scan` gives them: at least those of
    `RoutingTable.elements` that are there."""
