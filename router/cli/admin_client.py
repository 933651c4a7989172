"""Send requests to the admin API of a running router: find its address and token, and explain failures.

The token comes from `--token-file`, else from the environment variable `DICOM_ROUTER_TOKEN`, else from the file that
the router has written to its spool.
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

from router.cli.errors import CommandError
from router.config import TLS, Config, Endpoint
from router.config.identifiers import connecting
from router.web.admin.token import TOKEN_FILE, read_token

TOKEN_VARIABLE: Final = "DICOM_ROUTER_TOKEN"
_RESPONSE_DEADLINE: Final = 60.0
"""Seconds for the admin API to answer."""
_LOOPBACK_OF: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Addresses to connect to for a router that listens on all addresses."""
_TOKEN_FILE_KEY: Final = "router.web.admin.token-file"


class NotRunning(CommandError):
    """No router answers at the address of the admin API."""


def admin_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --admin to a command, as the parameter `admin`, and --token-file, which `AdminClient` reads."""

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
        help=f"File with the router's admin token. [default: ${TOKEN_VARIABLE}, else {TOKEN_FILE} in its spool]",
    )
    return click.option(
        "--admin",
        metavar="HOST:PORT",
        callback=address,
        help="Address of the running router's admin API. [default: admin.listen of the configuration]",
    )(token_file(command))


class AdminClient:
    """Requests to one running router. Every failure is a `CommandError`."""

    def __init__(self, config: Config, admin: Endpoint | None) -> None:
        listen = admin or config.admin.listen
        if not listen.port:
            raise NotRunning("admin.listen has port 0: give the address of the running router with --admin")
        self.address: Final = evolve(listen, host=_LOOPBACK_OF.get(listen.host, listen.host))
        self._tls = config.admin.tls
        self._spool_token = config.router.spool / TOKEN_FILE

    def ask(self, method: str, path: str, body: bytes | None = None) -> HTTPResponse:
        """Send one request and return the response, whatever its status except 401.

        Raises:
            NotRunning: no router answers.
            CommandError: the token is missing or is not the router's.
        """
        token, problem = self._token()
        response = self._ask(method, path, body, token)
        if response.status == HTTPStatus.UNAUTHORIZED:
            response.close()
            again, problem = self._token()  # a router that has just started may have written another
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
            raise CommandError(f"the server at {self.address} is not an admin API") from error

    def _connection(self) -> HTTPConnection:
        host, port = self.address.host, self.address.port
        if self._tls.certificate is None:
            return HTTPConnection(host, port, timeout=_RESPONSE_DEADLINE)
        return HTTPSConnection(host, port, timeout=_RESPONSE_DEADLINE, context=_client_context(self._tls))

    def _token(self) -> tuple[str, str]:
        """Return the token, "" if there is none, and the message for the operator if the router refuses it."""
        file = click.get_current_context().meta.get(_TOKEN_FILE_KEY)
        if file is None and (token := os.environ.get(TOKEN_VARIABLE)):
            return token, ""
        try:
            return read_token(file or self._spool_token), ""
        except OSError as error:
            return "", (
                f"the router requires its admin token, but {error.filename} cannot be read ({_cause(error)}): "
                f"run this as the router's user with its --config, or give --token-file or {TOKEN_VARIABLE}"
            )


def _client_context(tls: TLS) -> ssl.SSLContext:
    """Return a context that trusts only the certificate of the configuration, whatever its name, and can present it."""
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
