"""What may name a patient is told only where the operator asks for it."""

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio
from click.testing import CliRunner

from router.cli import main
from tests.support.harness import Archive, Modality, data_set, eventually, store_rq
from tests.support.ports import HOST
from tests.support.router_process import RouterProcess, configuration

NAME = "DOE^JOHN"


@pytest.mark.parametrize("options", [(), ("--phi",)], ids=["run", "run --phi"])
async def test_an_error_comment_is_in_the_ledger_and_shown_with_phi_alone(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    async with Archive(lambda command: 0xC123, comment=f"no such patient {NAME}").serving() as archive:
        pacs = SimpleNamespace(ae_title="PACS", address=f"{HOST}:{archive.port}")
        router = RouterProcess(tmp_path, configuration({"pacs": pacs}), "--log-level", "debug", *options)
        await trio.to_thread.run_sync(router.start)
        async with Modality.connected(router.port) as modality:
            await modality.associate()
            await modality.store(store_rq("1.2.3"), data_set("1.2.3"))

        async def is_logged() -> bool:
            return any(event.get("event") == "delivery" for event in router.logs)

        await eventually(is_logged)
        await judge_commands(*router.options)
        await trio.to_thread.run_sync(router.stop)
        (line,) = (event for event in router.logs if event.get("event") == "delivery")
        assert line["reason"].startswith("C123H")
        assert (NAME in json.dumps(router.logs)) is bool(options)
        await judge_commands(*router.options[:2])  # by the spool of the stopped router


async def judge_commands(*options: str) -> None:
    """The commands that show deliveries show the name with --phi, and not without."""
    for arguments in (["queue", "show", "1"], ["queue", "list"], ["queue", "show", "1", "--json"]):
        for phi in ([], ["--phi"]):
            call = partial(CliRunner().invoke, main, [*arguments, *phi, *options])
            shown = await trio.to_thread.run_sync(call)
            assert shown.exit_code == 0, shown.output
            assert (NAME in shown.output) is bool(phi), (arguments, phi, shown.output)
