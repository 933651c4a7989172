"""The command `dicom-router`. Exit codes: 0 fine, 1 the work failed, 2 usage or configuration.

One module for each command, which exports it as a click command of its own name; a new one is a file and an entry in
`COMMANDS`. A module is read when its command is called, so that `--help` need not wait for what only `run` needs.
Results go to standard output, what is wrong to standard error.
"""

import importlib
from pathlib import Path

import click

from router import __version__, logs
from router.cli.configuration import CONFIG_HELP

COMMANDS = {
    "run": "Run the router until it is told to stop.",
    "check": "Tell every fault of the configuration.",
    "explain": "Tell where files would go, and why.",
    "status": "Show what the running router is doing.",
    "queue": "Look into the queue of deliveries, and change it.",
    "commitments": "Look at storage commitment: what archives have promised.",
    "steps": "Look at the procedure steps that modalities have reported.",
    "echo": "Ask a peer whether it is there (C-ECHO).",
    "send": "Send files to a peer (C-STORE).",
    "bench": "Measure throughput: any SCP, any router, and this one beside others.",
    "demo": "Route real objects to stand-ins of the archives, and show what went where.",
}
"""Each command, and its help in one line; the command is `router.cli.NAME.NAME`."""


class _Commands(click.Group):
    """The commands, read when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f"router.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option("--config", "config", type=click.Path(path_type=Path), metavar="FILE", help=CONFIG_HELP)
@click.version_option(__version__, prog_name="dicom-router")
@click.pass_context
def main(ctx: click.Context, /, config: Path | None) -> None:
    """A DICOM router: takes objects in, keeps them safe, and brings them to where its routes say."""
    ctx.obj = config
    logs.configure(level="error")  # the words of a command are its output; `run` has a log
    ctx.call_on_close(logs.close)
