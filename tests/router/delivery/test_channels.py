"""How many channels a destination may have: its limit, and one more while one of them stalls."""

from attrs import define

from router.delivery.channels import Channels
from router.delivery.retry import Breaker, RetryPolicy

NOW = 1000.0
POLICY = RetryPolicy(first=10.0, factor=2.0, max=60.0, give_up=1e6)


@define(eq=False)
class Session:
    waits_since: float | None = None


def channels(limit: int, *sessions: Session) -> Channels[Session]:
    found = Channels[Session](limit, Breaker(POLICY), count=len(sessions))
    for session in sessions:
        found.add(session)
    return found


def wants(found: Channels[Session], available: int = 10, now: float = NOW) -> bool:
    return found.wants_another(available, now, news=False)


def test_channels_are_opened_up_to_the_limit_and_only_for_more_than_idle_sessions_can_begin() -> None:
    found = channels(2)
    assert wants(found, available=1)
    assert not wants(found, available=0)
    found.count, found.idle = 1, 1
    assert wants(found, available=2)
    assert not wants(found, available=1)
    found.count = 2
    assert not wants(found, available=10)


def test_one_channel_beyond_the_limit_while_one_stalls_and_it_goes_when_that_one_works_again() -> None:
    stalling = Session(waits_since=NOW - 1)
    found = channels(1, stalling)
    assert not wants(found)
    assert found.next_moment(0, NOW, news=False) == NOW + 4
    assert wants(found, now=NOW + 4)
    assert list(found.stalling(NOW + 4)) == [stalling]
    found.count = 2
    assert not found.has_too_many(NOW + 4)
    assert not wants(found, now=NOW + 4)
    stalling.waits_since = NOW + 4
    assert found.has_too_many(NOW + 4)


def test_a_peer_that_has_been_slow_is_given_twice_as_long() -> None:
    found = channels(1, Session(waits_since=NOW))
    found.record_answer(30.0)
    assert not wants(found, now=NOW + 59)
    assert wants(found, now=NOW + 60)


def test_a_refused_extra_channel_is_not_tried_again_at_once() -> None:
    found = channels(1, Session(waits_since=NOW - 10))
    found.no_extra_until = NOW + 60
    assert not wants(found)
    assert wants(found, now=NOW + 60)


def test_an_open_breaker_allows_one_probe_at_its_time() -> None:
    found = channels(3)
    found.breaker.record_site_failure(NOW, 1.0, "down")
    assert not wants(found)
    assert found.next_moment(1, NOW, news=False) == NOW + 10
    assert wants(found, now=NOW + 10)
    found.count = 1
    assert not wants(found, now=NOW + 10)
