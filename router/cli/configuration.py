"""The option --config, before the command or behind it, and what becomes of a configuration with faults."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from router.cli.failing import EXIT_CONFIGURATION, CommandError
from router.config import Config, ConfigError
from router.services import load_config

DEFAULT: Final = Path("router.toml")
CONFIG_HELP: Final = f"The configuration file; {DEFAULT} in the current folder unless told."


class ConfigFaults(CommandError):
    """The configuration cannot be used. Shows every fault."""

    exit_code = EXIT_CONFIGURATION

    def __init__(self, path: Path, error: ConfigError) -> None:
        super().__init__(faults_in_words(path, error))


def faults_in_words(path: Path, error: ConfigError) -> str:
    """All faults, one a line."""
    count = len(error.faults)
    return "\n".join([f"{path} has {count} fault{'s' * (count != 1)}:", *(f"  {fault}" for fault in error.faults)])


def config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option, and its path as the parameter `config_path`: that of the command, else that before
    it, else the default."""

    def chosen(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> Path:
        return value or ctx.find_object(Path) or DEFAULT

    return click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        metavar="FILE",
        callback=chosen,
        help=CONFIG_HELP,
    )(command)


def read(path: Path) -> Config:
    """The configuration of a command that cannot do without.

    Raises:
        ConfigFaults: exit code 2.
    """
    try:
        return load_config(path)
    except ConfigError as error:
        raise ConfigFaults(path, error) from None


def read_if_there(path: Path) -> Config:
    """The configuration of a command that can do without: the default file may be missing, one that was named may
    not."""
    if path == DEFAULT and not path.exists():
        return Config()
    return read(path)
