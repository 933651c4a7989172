"""How the data set of a delivery is encoded for its destination: in any of the three uncompressed transfer syntaxes.

The spool keeps one encoding of a message. A destination may accept another one of those that its presentation context
offers; the data set is then read and written, with the same content. For services whose data sets are small and made
of elements that the router knows how to encode. Not here: choosing the presentation context.
"""

from collections.abc import Sequence

from router.dicom.dataset import TRANSFER_SYNTAXES, reencode
from router.model import PendingDelivery


class UncompressedDeliveries:
    """The half of a delivery policy that says how deliveries are encoded."""

    def syntaxes(self, delivery: PendingDelivery) -> Sequence[str]:
        """Return the three uncompressed transfer syntaxes, that of the stored data set first."""
        stored = delivery.transfer_syntax
        return (stored, *(uid for uid in TRANSFER_SYNTAXES if uid != stored))

    def encode(self, delivery: PendingDelivery, data_set: bytes, transfer_syntax: str) -> bytes:
        """Encode a data set of a delivery, or of its prelude, in a transfer syntax that `syntaxes` offers.

        Pure, and about as long as reading the data set: a large one belongs in `router.concurrency.compute`.

        Raises:
            MalformedDataSet: the data set cannot be read in the delivery's transfer syntax.
        """
        return reencode(data_set, delivery.transfer_syntax, transfer_syntax)
