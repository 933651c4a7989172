"""The token of the admin API: a new secret at each start, in a file of the spool that only its owner may read."""

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

TOKEN_FILE: Final = "admin.token"


def new_token() -> str:
    """Return 256 random bits as text."""
    return secrets.token_urlsafe(32)


def write_token(folder: Path, token: str) -> None:
    """Replace the token file atomically, with mode 0600.

    Raises:
        OSError: the file cannot be written.
    """
    temporary = folder / f"{TOKEN_FILE}.new"
    with suppress(FileNotFoundError):
        temporary.unlink()
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(f"{token}\n")
    temporary.replace(folder / TOKEN_FILE)


def read_token(path: Path) -> str:
    """Return the token in a file.

    Raises:
        OSError: the file cannot be read.
    """
    return path.read_text(encoding="ascii", errors="replace").strip()
