"""Facts about a message that routes are matched with: sender, kind, and elements of its data set.

Not here: reading a data set (`router.dicom.scanner`) and conditions (`rules`).
"""

from collections.abc import Mapping

from attrs import Factory, frozen


@frozen(kw_only=True)
class Facts:
    """Facts about one message."""

    service: str
    """Name of the service that performs the request, such as "storage"."""
    calling_ae: str
    called_ae: str
    peer: str
    """The sender's IP address, without port."""
    sop_class: str
    """The affected SOP Class UID."""
    transfer_syntax: str
    """The UID of the transfer syntax of the data set."""
    destination: str = ""
    """The name of the peer that a C-MOVE sends to; "" for any other message."""
    elements: Mapping[int, tuple[str, ...]] = Factory(dict)
    """Values by tag, as `scan` returns them, of at least those of `RoutingTable.elements` that the data set has."""
    information_model: str = ""
    """The name of the information model of a query or retrieve."""
    level: str = ""
    """The Query/Retrieve Level (0008,0052) of a query or retrieve."""
