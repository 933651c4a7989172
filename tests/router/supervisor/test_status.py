"""The status of destinations, from the counts of the ledger and the state of the actors."""

from attrs import asdict
from hypothesis import given
from hypothesis import strategies as st

from router.delivery import DestinationStatistics
from router.model import Purpose
from router.spool import Totals
from router.supervisor.status import destinations_status
from router.web.admin.queue_views import shown_name

COUNTS = st.integers(0, 50)
TOTALS = st.builds(Totals, waiting=COUNTS, delivered=COUNTS, held=COUNTS, discarded=COUNTS)
BY_NAME = st.dictionaries(st.sampled_from(["pacs", "vna", "gone"]), TOTALS)


def actor(in_flight: int) -> DestinationStatistics:
    return DestinationStatistics(
        stage="sending",
        reason="",
        associations=1,
        in_flight=in_flight,
        deferred=0,
        window=1,
        next_try=None,
        delivered=0,
        bytes_delivered=0,
    )


@given(sent=BY_NAME, retained=BY_NAME, in_flight=st.dictionaries(st.sampled_from(["pacs", "new"]), COUNTS))
def test_the_five_counts_add_up_to_what_was_accepted(
    sent: dict[str, Totals], retained: dict[str, Totals], in_flight: dict[str, int]
) -> None:
    status = destinations_status(sent, retained, {name: actor(count) for name, count in in_flight.items()})
    assert status.keys() == sent.keys() | {shown_name(name, Purpose.RETAIN) for name in retained} | in_flight.keys()
    for name, totals in sent.items():
        one = status[name]
        five = [one[key] for key in ("waiting", "in_flight", "delivered", "held", "discarded")]
        assert one["accepted"] == sum(five) == sum(asdict(totals).values())
        assert min(five) >= 0
        assert one["in_flight"] <= in_flight.get(name, 0)


def test_deliveries_without_an_actor_say_why() -> None:
    status = destinations_status({"gone": Totals(waiting=1)}, {"pacs": Totals(waiting=2)}, {})
    assert status["gone"]["actor_stage"] == "not configured"
    assert status["pacs (commitment)"]["actor_stage"] == "waits for commitment"


def test_the_gap_of_an_archive_is_what_it_has_received_and_not_committed_to() -> None:
    sent, retained = Totals(waiting=2, held=1, delivered=7), Totals(waiting=4, held=1, delivered=5)
    status = destinations_status({"pacs": sent}, {"pacs": retained}, {"pacs": actor(0)})
    assert (status["pacs"]["committed"], status["pacs"]["gap"]) == (5, 2)
