"""Ask a running router over its admin API: which address, which token, and what a refusal means.

The token is that of `--token-file`, else of the environment variable `DICOM_ROUTER_TOKEN`, else of the file that the
router has written into its spool.
"""

import os
import ssl
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any, Final

import click
from attrs import evolve

from router.cli.failing import CommandError
from router.config import TLS, Config, Endpoint
from router.config.identifiers import connecting
from router.web.admin import TOKEN_FILE, read_token

TOKEN_VARIABLE: Final = "DICOM_ROUTER_TOKEN"
_PATIENCE: Final = 60.0
"""Seconds for the admin API to answer."""
_ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_TOKEN_FILE_KEY: Final = "router.web.admin.token-file"


class NotRunning(CommandError):
    """Nobody answers at the address of the admin API."""


def admin_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command --admin, as the parameter `admin`, and --token-file, which `AdminClient` finds by itself."""

    def address(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Endpoint | None:
        try:
            return None if value is None else connecting(value)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, parameter) from None

    def remember(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> None:
        ctx.meta[_TOKEN_FILE_KEY] = value

    token_file = click.option(
        "--token-file",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        metavar="FILE",
        expose_value=False,
        callback=remember,
        help=f"The admin token of the running router; {TOKEN_VARIABLE}, or {TOKEN_FILE} in its spool, unless told.",
    )
    return click.option(
        "--admin",
        metavar="HOST:PORT",
        callback=address,
        help="The admin API of the running router; admin.listen of the configuration unless told.",
    )(token_file(command))


class AdminClient:
    """Requests to one running router. Every failure is a `CommandError` in words."""

    def __init__(self, config: Config, admin: Endpoint | None) -> None:
        listen = admin or config.admin.listen
        if not listen.port:
            raise NotRunning("admin.listen has port 0, so that --admin must say where the running router listens")
        self.address: Final = evolve(listen, host=_ANYWHERE.get(listen.host, listen.host))
        self._tls = config.admin.tls
        self._spool_token = config.router.spool / TOKEN_FILE

    def ask(self, method: str, path: str, body: bytes | None = None) -> HTTPResponse:
        """Send one request and return the answer, whatever its status but 401.

        Raises:
            NotRunning: nobody answers.
            CommandError: the token is missing or is not the router's.
        """
        token, problem = self._token()
        response = self._ask(method, path, body, token)
        if response.status == HTTPStatus.UNAUTHORIZED:
            response.close()
            again, problem = self._token()  # a router that has just started may have made another
            if again == token:
                raise CommandError(problem or f"the router at {self.address} does not accept this admin token")
            response = self._ask(method, path, body, again)
        return response

    def _ask(self, method: str, path: str, body: bytes | None, token: str) -> HTTPResponse:
        headers = {"Connection": "close"} | ({"Content-Type": "application/json"} if body is not None else {})
        if token:
            headers["Authorization"] = f"Bearer {token}"
        connection = self._connection()
        try:
            connection.request(method, path, body, headers)
            return connection.getresponse()
        except ssl.SSLError as error:
            connection.close()
            raise CommandError(f"TLS with the router at {self.address} failed: {_cause(error)}") from error
        except OSError as error:
            connection.close()
            raise NotRunning(f"no router answers at {self.address} ({_cause(error)})") from error
        except HTTPException as error:
            connection.close()
            raise CommandError(f"what answers at {self.address} is not an admin API") from error

    def _connection(self) -> HTTPConnection:
        host, port = self.address.host, self.address.port
        if self._tls.certificate is None:
            return HTTPConnection(host, port, timeout=_PATIENCE)
        return HTTPSConnection(host, port, timeout=_PATIENCE, context=_client_context(self._tls))

    def _token(self) -> tuple[str, str]:
        """The token, "" where there is none, and what to tell the operator if the router refuses it."""
        file = click.get_current_context().meta.get(_TOKEN_FILE_KEY)
        if file is None and (token := os.environ.get(TOKEN_VARIABLE)):
            return token, ""
        try:
            return read_token(file or self._spool_token), ""
        except OSError as error:
            return "", (
                f"the router asks for its admin token, and {error.filename} cannot be read ({_cause(error)}): "
                f"run this as the router's user with its --config, or give --token-file or {TOKEN_VARIABLE}"
            )


def _client_context(tls: TLS) -> ssl.SSLContext:
    """Trust the very certificate of the configuration, whatever name it is for, and show it where one is asked for."""
    try:
        context = ssl.create_default_context(cafile=tls.certificate)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if tls.ca is not None:
            context.load_verify_locations(tls.ca)
        if tls.client != "off" and tls.certificate is not None:
            context.load_cert_chain(tls.certificate, tls.key)
    except OSError as error:
        raise CommandError(f"admin.tls cannot be used: {_cause(error)}") from error
    return context


def _cause(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
