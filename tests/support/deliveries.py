"""Deliveries for tests of the queue."""

from router.delivery.queue import Pair
from router.model import PendingDelivery

PAIRS: tuple[Pair, ...] = (("ct", "implicit"), ("ct", "jpeg"), ("mr", "implicit"))


def waiting(message_id: int, key: str = "", pair: Pair = PAIRS[0], calling_ae: str = "CT1") -> PendingDelivery:
    return PendingDelivery(
        message_id=message_id,
        destination="pacs",
        key=key,
        attempts=0,
        born=0.0,
        service="storage",
        kind="C-STORE-RQ",
        abstract_syntax=pair[0],
        transfer_syntax=pair[1],
        sop_instance_uid=f"1.2.{message_id}",
        calling_ae=calling_ae,
        data_length=10,
    )
