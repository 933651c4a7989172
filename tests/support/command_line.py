"""Call the command line from a test that runs an event loop."""

import json
from functools import partial
from typing import Any

import structlog
import trio
from click.testing import CliRunner, Result

from router.cli import main


async def command(*arguments: str) -> Result:
    try:
        return await trio.to_thread.run_sync(partial(CliRunner().invoke, main, arguments))
    finally:
        structlog.reset_defaults()  # a command sets up the log for its own process


async def json_output(*arguments: str) -> Any:
    result = await command(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)
