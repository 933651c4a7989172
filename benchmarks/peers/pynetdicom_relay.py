"""A relay as pynetdicom's documentation suggests it: no spool, each object is forwarded before it is acknowledged.

The router is compared with it from end to end. It keeps one association to the archive for each one that it has
accepted, and ends with its standard input.
"""

import argparse
import sys
from typing import Any

from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, _config, evt
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

_config.LOG_HANDLER_LEVEL = "none"

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
OUT_OF_RESOURCES = 0xA700
ATTEMPTS = 3


class Relay:
    def __init__(self, host: str, port: int) -> None:
        self._archive = host, port
        self._onward: dict[Association, Association] = {}
        self._ae = AE(ae_title="RELAY")
        self._ae.maximum_pdu_size = 131072
        self._ae.add_supported_context(CT, ALL_TRANSFER_SYNTAXES)

    def start(self) -> int:
        """Serve in threads, and return the port."""
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_RELEASED, self._on_end),
            (evt.EVT_ABORTED, self._on_end),
        ]
        server = self._ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        assert server is not None
        return int(server.server_address[1])

    def _on_store(self, event: evt.Event) -> int:
        data = event.dataset
        data.file_meta = event.file_meta
        for _ in range(ATTEMPTS):
            answer = self._association_for(event.assoc).send_c_store(data)
            if "Status" in answer:
                return int(answer.Status)
            self._onward.pop(event.assoc)
        return OUT_OF_RESOURCES

    def _association_for(self, incoming: Association) -> Association:
        onward = self._onward.get(incoming)
        for _ in range(ATTEMPTS):
            if onward is not None and onward.is_established:
                break
            onward = self._ae.associate(*self._archive, [build_context(CT, EXPLICIT)])
        assert onward is not None
        self._onward[incoming] = onward
        return onward

    def _on_end(self, event: evt.Event) -> None:
        if onward := self._onward.pop(event.assoc, None):
            onward.release()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    arguments = parser.parse_args()
    print(Relay(arguments.host, arguments.port).start(), flush=True)
    sys.stdin.read()
