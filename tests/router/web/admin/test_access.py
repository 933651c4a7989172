"""Who may reach the admin API: the Host, the Origin and the token of a request, and who can read the token."""

import os
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from router.config import TLS, ConfigError
from router.services import parse_config
from router.supervisor import admin
from router.web.admin.access import AccessPolicy
from router.web.admin.token import write_token
from tests.support.harness import RunningRouter, configuration, eventually, running_router
from tests.support.ports import HOST
from tests.support.router_process import RouterProcess
from tests.support.router_process import configuration as content

POLICY = AccessPolicy(token="s3cret", hosts=frozenset({"router.hospital.example", "192.0.2.7"}))
BEARER = ("authorization", "Bearer s3cret")


def status_of(*headers: tuple[str, str], path: str = "/api/status", scheme: str = "http") -> int:
    scope = {
        "path": path,
        "scheme": scheme,
        "server": ("10.1.2.3", 8080),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
    }
    refusal = POLICY.check(scope)
    return 200 if refusal is None else refusal.status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LocalHost:8080", 200),
        ("localhost.:8080", 200),
        ("127.0.0.1:9999", 200),
        ("127.8.8.8", 200),
        ("[::1]:8080", 200),
        ("router.hospital.example:8080", 200),
        ("192.0.2.7", 200),
        ("10.1.2.3:8080", 200),
        ("10.1.2.4:8080", 403),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("evil.example:8080@localhost", 403),
        ("localhost/evil.example", 403),
        ("[::2]", 403),
        ("", 403),
        ("localhost:8080:8080", 403),
        ("127.1", 403),
    ],
)
@pytest.mark.parametrize("path", ["/api/status", "/healthz"])
def test_a_host_must_name_this_machine(host: str, status: int, path: str) -> None:
    assert status_of(("host", host), BEARER, path=path) == status


@pytest.mark.parametrize(
    ("origin", "scheme", "status"),
    [
        ("http://localhost:8080", "http", 200),
        ("https://localhost:8080", "https", 200),
        ("https://localhost:8080", "http", 403),
        ("http://localhost:3000", "http", 403),
        ("http://localhost", "http", 403),
        ("http://evil.example", "http", 403),
        ("null", "http", 403),
        ("", "http", 403),
    ],
)
def test_an_origin_must_be_the_apis_own(origin: str, scheme: str, status: int) -> None:
    assert status_of(("host", "localhost:8080"), ("origin", origin), BEARER, scheme=scheme) == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 401),
        ([("authorization", "Bearer s3cret")], 200),
        ([("authorization", "bearer   s3cret")], 200),
        ([("authorization", "Bearer s3cre")], 401),
        ([("authorization", "Bearer s3cretx")], 401),
        ([("authorization", "Bearer")], 401),
        ([("authorization", "Basic s3cret")], 401),
        ([("authorization", "s3cret")], 401),
        ([("authorization", "Bearer \xe4\xff")], 401),
        ([("authorization", "Bearer s3cret"), ("authorization", "Bearer s3cret")], 401),
    ],
)
def test_everything_but_the_health_needs_the_token(headers: list[tuple[str, str]], status: int) -> None:
    assert status_of(("host", "localhost"), *headers) == status
    assert status_of(("host", "localhost"), *headers, path="/nothing/here") == status
    assert status_of(("host", "localhost"), *headers, path="/healthz") == 200


async def ask(address: str, path: str, *headers: str) -> tuple[int, bytes]:
    """The status of an answer, and all of it."""
    host, _, port = address.rpartition(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        head = [f"GET {path} HTTP/1.1", *(headers if any("Host:" in one for one in headers) else ("Host: x", *headers))]
        await stream.send_all("\r\n".join([*head, "", ""]).encode())
        answer = b"".join([piece async for piece in stream])
    return int(answer.split()[1]), answer


def token_of(router: RunningRouter) -> str:
    return (router.config.router.spool / "admin.token").read_text().strip()


async def test_a_router_answers_only_requests_with_its_token_host_and_origin(tmp_path: Path) -> None:
    async with running_router(configuration(tmp_path)) as router:
        here, bearer = f"Host: {router.admin}", f"Authorization: Bearer {token_of(router)}"
        assert (await ask(router.admin, "/healthz", here))[0] == 200
        assert (await ask(router.admin, "/api/status", here, bearer))[0] == 200
        status, answer = await ask(router.admin, "/api/status", here)
        assert status == 401
        assert b"www-authenticate: Bearer\r\n" in answer
        assert (await ask(router.admin, "/api/status", here, bearer + "x"))[0] == 401
        assert (await ask(router.admin, "/api/status", "Host: evil.example", bearer))[0] == 403
        assert (await ask(router.admin, "/api/status", here, bearer, "Origin: http://evil.example"))[0] == 403


async def test_each_start_writes_a_new_token_that_only_its_owner_may_read(tmp_path: Path) -> None:
    tokens = []
    for _ in range(2):
        async with running_router(configuration(tmp_path)) as router:
            tokens.append(token_of(router))
            assert (router.config.router.spool / "admin.token").stat().st_mode & 0o777 == 0o600
    assert len(set(tokens)) == 2
    assert all(len(token) >= 32 for token in tokens)


def test_a_token_file_that_is_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    for name in ("admin.token", "admin.token.new"):
        (tmp_path / name).symlink_to(tmp_path / "precious")
    write_token(tmp_path, "s3cret")
    assert (tmp_path / "precious").read_text() == "precious"
    assert (tmp_path / "admin.token").read_text() == "s3cret\n"
    assert not (tmp_path / "admin.token").is_symlink()


async def test_a_router_starts_although_its_token_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([OSError(28, "No space left on device")])

    def write(folder: Path, token: str) -> None:
        for failure in failures:
            raise failure
        write_token(folder, token)

    monkeypatch.setattr(admin, "write_token", write)
    with capture_logs() as logs:
        async with running_router(configuration(tmp_path)) as router:

            async def is_written() -> bool:
                return (router.config.router.spool / "admin.token").exists()

            await eventually(is_written)
    (event,) = (event for event in logs if event["event"] == "admin token not written")
    assert event["why"] == "No space left on device"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_of_this_machine_cannot_read_the_token() -> None:
    with tempfile.TemporaryDirectory() as folder, RouterProcess(Path(folder), content({}, routes=[])) as router:
        router.folder.chmod(0o755)
        spool = router.folder / "spool"
        assert spool.stat().st_mode & 0o777 == 0o700
        program = (
            "import sys, urllib.request, urllib.error\n"
            "try: print(open(sys.argv[1]).read())\n"
            "except PermissionError: print('denied')\n"
            "try: print(urllib.request.urlopen(sys.argv[2]).status)\n"
            "except urllib.error.HTTPError as error: print(error.code)\n"
        )
        arguments = ["/usr/bin/env", "python3", "-c", program, str(spool / "admin.token")]
        done = subprocess.run(
            [*arguments, f"http://{router.admin}/api/status"], user=65534, capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == ["denied", "401"]


def test_without_a_readable_token_the_command_line_says_how_to_give_one(tmp_path: Path) -> None:
    def status(router: RouterProcess, *options: str, **environment: str) -> Any:
        return subprocess.run(
            [sys.executable, "-m", "router", "status", "--admin", router.admin, *options],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": os.getcwd()} | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    with RouterProcess(tmp_path / "router", content({}, routes=[])) as router:
        token = router.folder / "spool" / "admin.token"
        refused = status(router)
        assert refused.returncode == 1
        assert all(word in refused.stderr for word in ("admin.token", "--token-file", "DICOM_ROUTER_TOKEN"))
        assert status(router, "--config", str(router.config)).returncode == 0
        assert status(router, "--token-file", str(token)).returncode == 0
        assert status(router, DICOM_ROUTER_TOKEN=token.read_text().strip()).returncode == 0
        wrong = status(router, DICOM_ROUTER_TOKEN="wrong")
        assert (wrong.returncode, "does not accept" in wrong.stderr) == (1, True)


@pytest.mark.parametrize("listen", ["0.0.0.0:8080", "[::]:8080", "10.0.0.5:8080", "router.example:8080"])
def test_beyond_loopback_check_demands_tls_or_plaintext_to_be_set(listen: str) -> None:
    with pytest.raises(ConfigError, match=r"admin\.listen: .*plaintext"):
        parse_config(f'[admin]\nlisten = "{listen}"', Path())
    parse_config(f'[admin]\nlisten = "{listen}"\nplaintext = true', Path())


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.9.9.9:1", "[::1]:8080", "localhost:8080", "LOCALHOST:8080"])
def test_on_loopback_check_demands_neither_tls_nor_plaintext(listen: str) -> None:
    parse_config(f'[admin]\nlisten = "{listen}"', Path())


@pytest.mark.parametrize(
    ("tls", "path"),
    [
        ('certificate = "missing.pem", key = "missing.pem"', "admin.tls.certificate"),
        ('certificate = "x.pem"', "admin.tls:"),
        ('certificate = "x.pem", key = "x.pem", client = "require"', "admin.tls.client"),
        ('client = "sometimes"', "admin.tls.client"),
    ],
)
def test_a_table_tls_that_cannot_work_is_a_fault(tmp_path: Path, tls: str, path: str) -> None:
    (tmp_path / "x.pem").touch()
    with pytest.raises(ConfigError, match=path):
        parse_config(f"[admin]\ntls = {{ {tls} }}", tmp_path)


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for a name that nobody calls, and its key, made by OpenSSL."""
    made, key = folder / "certificate.pem", folder / "key.pem"
    subject = ["-subj", "/CN=router.hospital.example", "-addext", "subjectAltName=DNS:router.hospital.example"]
    arguments = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject]
    subprocess.run([*arguments, "-keyout", str(key), "-out", str(made)], check=True, capture_output=True)
    return made, key


@pytest.mark.parametrize("client", ["off", "require"])
def test_the_command_line_speaks_tls_where_the_configuration_does(tmp_path: Path, client: str) -> None:
    made, key = certificate(tmp_path)
    tls = {"certificate": str(made), "key": str(key), "ca": str(made), "client": client}
    admin = {"listen": f"{HOST}:0", "tls": tls}
    with RouterProcess(tmp_path / "router", content({}, routes=[], admin=admin)) as router:
        arguments = [sys.executable, "-m", "router", "status", *router.options]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        assert (done.returncode, "accepting" in done.stdout) == (0, True), done.stderr


async def test_tls_is_answered_and_plain_http_at_its_port_is_not(tmp_path: Path) -> None:
    made, key = await trio.to_thread.run_sync(certificate, tmp_path)
    config = configuration(tmp_path)
    admin = attrs.evolve(config.admin, tls=TLS(certificate=made, key=key))
    async with running_router(attrs.evolve(config, admin=admin)) as router:
        host, _, port = router.admin.rpartition(":")
        context = ssl.create_default_context(cafile=made)
        context.check_hostname = False
        stream = trio.SSLStream(await trio.open_tcp_stream(host, int(port)), context, https_compatible=True)
        async with stream:
            await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await stream.receive_some(100)).startswith(b"HTTP/1.1 200")
        async with await trio.open_tcp_stream(host, int(port)) as plain:
            await plain.send_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            with trio.fail_after(20):
                assert not b"".join([piece async for piece in plain]).startswith(b"HTTP")
