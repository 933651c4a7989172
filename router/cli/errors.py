"""The error of a command: a message on standard error, and an exit code."""

from typing import IO, Any, Final

import click

EXIT_FAILED: Final = 1
"""Exit code: the work failed."""
EXIT_CONFIGURATION: Final = 2
"""Exit code: wrong usage or configuration."""


class CommandError(click.ClickException):
    """The work failed; the message says all that the operator needs."""

    exit_code = EXIT_FAILED

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.format_message(), err=True, file=file)
