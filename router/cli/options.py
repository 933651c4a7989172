"""The default configuration file, apart from what reads it, so that `--help` imports nothing else."""

from pathlib import Path
from typing import Final

DEFAULT_CONFIG: Final = Path("router.toml")
CONFIG_HELP: Final = f"The configuration file. [default: {DEFAULT_CONFIG}]"
