"""Archives, behaviours and policies against one another: what the modality hears in every cell."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from router.services.commitment.transaction import COMMITTED
from tests.support.commitment_peers import CommittingArchive, Modality, ask, instances
from tests.support.harness import configuration, running_router

BEHAVIOURS = (
    "commits",
    "fails some",
    "is silent",
    "refuses the context",
    "reports anew",
    "reports twice",
    "reports early",
    "reports at the release",
)
POLICIES = {"all": '"all"', "any": '"any"', "two": "{ at_least = 2 }", "first": '["archive0"]'}
FAILED, KEPT = (reference.sop_instance_uid for reference in instances(2))


def expected(behaviour: str, policy: str, archives: int) -> dict[str, int]:
    """What fails, and why: by hand, from the words of the standard. The first archive behaves, the others commit."""
    others = archives - 1
    misses = {"fails some": {FAILED: 0x0112}, "is silent": dict.fromkeys((FAILED, KEPT), 0x0110)}
    misses["refuses the context"] = dict.fromkeys((FAILED, KEPT), 0x0122)
    enough_without = {"all": False, "any": others >= 1, "two": others >= 2, "first": False}[policy]
    return {} if enough_without else misses.get(behaviour, {})


@pytest.mark.parametrize("archives", [1, 2, 3])
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
async def test_the_modality_hears_what_the_policy_makes_of_the_archives_words(
    tmp_path: Path, behaviour: str, archives: int
) -> None:
    policies = [name for name in POLICIES if name != "two" or archives >= 2]
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        peers = [
            await stack.enter_async_context(CommittingArchive(title=f"ARCHIVE{n}", nursery=nursery).serving())
            for n in range(archives)
        ]
        modality = await stack.enter_async_context(Modality().serving())
        names = {f"archive{n}": peer.port for n, peer in enumerate(peers)}
        text = ""
        for policy in policies:
            to = ", ".join(f'"{name}"' for name in names)
            text += f"""
[peers.{policy}]
ae_title = "{policy.upper()}"
address = "127.0.0.1:{modality.port}"
[[routes]]
name = "{policy}"
service = "storage-commitment"
when = {{ calling_ae = "{policy.upper()}" }}
to = [{to}]
require = {POLICIES[policy]}
deadline = "700ms"
grace = "0s"
"""
        running = await stack.enter_async_context(running_router(configuration(tmp_path, text, router="", **names)))
        for peer in peers:
            peer.router = running.port
        peers[0].behaviour = "commits" if behaviour == "fails some" else behaviour
        peers[0].misses = frozenset({FAILED}) if behaviour == "fails some" else frozenset()
        for policy in policies:
            assert (
                await ask(running.port, instances(2), uid=f"2.25.1.{policies.index(policy)}", calling=policy.upper())
                == 0
            )
            heard = (await modality.reports(1))[0]
            modality.heard.clear()
            failures = expected(behaviour, policy, archives)
            assert heard.transaction_uid == f"2.25.1.{policies.index(policy)}"
            assert heard.failures == failures, policy
            assert heard.event_type == (2 if failures else 1)
            assert {uid for uid, word in heard.words.items() if word.reason == COMMITTED} == {
                FAILED,
                KEPT,
            } - failures.keys()
