"""The presentation contexts of a plan: several transfer syntaxes only where the delivery can be encoded in them."""

from typing import Any, cast

from attrs import evolve

from router.dicom.uids import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from router.model import PendingDelivery, SentAs
from router.remote.contexts import offered_syntaxes, propose
from router.services.uncompressed_deliveries import UncompressedDeliveries
from tests.support.deliveries import waiting

JPEG = "1.2.840.10008.1.2.4.70"


class AsStored:
    def syntaxes(self, delivery: PendingDelivery) -> tuple[str, ...]:
        return (delivery.transfer_syntax,)


SERVICES = cast("Any", {"storage": AsStored(), "mpps": UncompressedDeliveries()})


def step(transfer_syntax: str) -> PendingDelivery:
    return evolve(waiting(1, pair=("mpps", transfer_syntax)), service="mpps")


def test_an_object_gets_a_context_with_its_own_transfer_syntax_alone() -> None:
    plan = [waiting(number, pair=("ct", syntax)) for number, syntax in enumerate((JPEG, EXPLICIT_LE, JPEG))]
    assert propose(plan, SERVICES) == [("ct", (JPEG,)), ("ct", (EXPLICIT_LE,))]


def test_one_context_has_all_transfer_syntaxes_the_stored_one_of_the_first_delivery_first() -> None:
    proposals = propose([step(IMPLICIT_LE), step(EXPLICIT_LE)], SERVICES)
    assert [(abstract, syntaxes[0], set(syntaxes)) for abstract, syntaxes in proposals] == [
        ("mpps", IMPLICIT_LE, {IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE})
    ]


def test_what_is_frozen_with_the_delivery_comes_before_what_the_service_offers() -> None:
    frozen = evolve(step(EXPLICIT_LE), sent_as=SentAs(transfer_syntaxes=(EXPLICIT_BE,)))
    assert offered_syntaxes(frozen, SERVICES) == (EXPLICIT_BE,)


def test_a_message_of_an_unknown_service_is_offered_as_stored() -> None:
    assert offered_syntaxes(evolve(step(JPEG), service="of a later version"), SERVICES) == (JPEG,)
