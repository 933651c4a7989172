"""SIGHUP at any moment of a router's life."""

import signal
from pathlib import Path

import pytest
import trio
import trio.testing

from router.config import Config
from router.services import load_config
from router.supervisor import serve, signals
from tests.support.router_process import RouterProcess, configuration


async def test_sighup_before_the_router_is_ready_takes_effect_once_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reloaded = trio.Event()

    class Starting:
        """A router that becomes ready when the test says so."""

        ready = trio.Event()

        def reload(self, config: Config) -> None:
            reloaded.set()

        async def run(self) -> None:
            signal.raise_signal(signal.SIGHUP)
            await trio.testing.wait_all_tasks_blocked()
            self.ready.set()
            with trio.fail_after(20):
                await reloaded.wait()

    def read(path: Path) -> Config:
        assert Starting.ready.is_set()
        return load_config(path)

    (tmp_path / "router.toml").write_text("")
    monkeypatch.setattr(signals, "Router", lambda config, spool: Starting())
    monkeypatch.setattr(signals, "load_config", read)
    await serve(load_config(tmp_path / "router.toml"), None)  # type: ignore[arg-type]


def test_repeated_sighup_during_start_and_stop_ends_in_exit_0(tmp_path: Path) -> None:
    router = RouterProcess(tmp_path, configuration({}, routes=[])).start()
    for _ in range(50):
        router.send_signal(signal.SIGHUP)
    router.wait_for_log(lambda event: event.get("event") == "reloaded")
    router.send_signal(signal.SIGTERM)
    for _ in range(50):
        router.send_signal(signal.SIGHUP)
    router.stop()
