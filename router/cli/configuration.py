"""The option --config, before or after the command, and the error for a configuration with faults."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from router.cli.errors import EXIT_CONFIGURATION, CommandError
from router.cli.options import CONFIG_HELP, DEFAULT_CONFIG
from router.config import Config, ConfigError
from router.services import load_config


class ConfigFaults(CommandError):
    """The configuration has faults; the message lists all of them."""

    exit_code = EXIT_CONFIGURATION

    def __init__(self, path: Path, error: ConfigError) -> None:
        super().__init__(describe_faults(path, error))


def describe_faults(path: Path, error: ConfigError) -> str:
    """Return all faults, one on each line."""
    count = len(error.faults)
    return "\n".join([f"{path} has {count} fault{'s' * (count != 1)}:", *(f"  {fault}" for fault in error.faults)])


def config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --config to a command, as the parameter `config_path`.

    The option after the command counts, else the one before it, else the default.
    """

    def chosen(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> Path:
        return value or ctx.find_object(Path) or DEFAULT_CONFIG

    return click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        metavar="FILE",
        callback=chosen,
        help=CONFIG_HELP,
    )(command)


def read_config(path: Path) -> Config:
    """Return the configuration of a command that needs one.

    Raises:
        ConfigFaults: exit code 2.
    """
    try:
        return load_config(path)
    except ConfigError as error:
        raise ConfigFaults(path, error) from None


def read_optional_config(path: Path) -> Config:
    """Return the configuration of a command that works without one.

    The default file may be missing; a file that was named may not.

    Raises:
        ConfigFaults: exit code 2.
    """
    if path == DEFAULT_CONFIG and not path.exists():
        return Config()
    return read_config(path)
