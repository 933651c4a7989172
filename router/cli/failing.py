"""How a command fails: words on standard error, and an exit code."""

from typing import IO, Any, Final

import click

EXIT_FAILED: Final = 1
"""The work failed."""
EXIT_CONFIGURATION: Final = 2
"""Usage or configuration."""


class CommandError(click.ClickException):
    """The work failed, in words that need nothing added."""

    exit_code = EXIT_FAILED

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.format_message(), err=True, file=file)
