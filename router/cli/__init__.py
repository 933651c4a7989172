"""The command `dicom-router`. Exit codes: 0 fine, 1 the work failed, 2 usage or configuration.

Each command is a module that exports a click command of the same name; a new one is a file and an entry in `COMMANDS`.
A module is imported when its command is called, so that `--help` does not wait for what only `run` needs. Results go to
standard output, errors to standard error.
"""

import importlib
from pathlib import Path

import click

from router import __version__
from router.cli.options import CONFIG_HELP

COMMANDS = {
    "run": "Run the router in the foreground.",
    "check": "Check the configuration, and list all its faults.",
    "explain": "Explain where files would be routed, and why.",
    "status": "Show destinations, associations and spool of the router.",
    "queue": "List, show, export and change deliveries.",
    "commitments": "List storage commitment transactions, and reconcile.",
    "steps": "List, show and discard procedure steps.",
    "conversations": "List and show queries, retrieves and relayed associations.",
    "echo": "Verify the connection to a peer (C-ECHO).",
    "find": "Query a peer (C-FIND).",
    "retrieve": "Retrieve from a peer, into a folder or to another peer (C-GET, C-MOVE).",
    "send": "Send files to a peer (C-STORE).",
    "bench": "Measure the throughput of any SCP and any router.",
    "demo": "Route real objects to simulated archives, and show the result.",
}
"""Each command with its help in one line; the command is `router.cli.NAME.NAME`."""


class _Commands(click.Group):
    """The commands, imported when they are called."""

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
    """A DICOM router: store objects durably, then deliver them to the destinations of its routes."""  # noqa: D401
    from router import logs  # not before a command runs: `--help` and completion do not need it

    ctx.obj = config
    logs.configure(level="error")  # commands print their result; only `run` has a log
    ctx.call_on_close(logs.close)
