"""The demo: a router between a modality and two archives, in one process, on real sockets and a real disk.

The router is that of a configuration file, with its addresses replaced by free ports of this machine. The archives are
routers too, which hold everything that they are sent, so that the demo needs no other program.
"""

from router.tools.demo.commitment import run_commitment_demo
from router.tools.demo.mpps import run_steps_demo
from router.tools.demo.objects import write_objects
from router.tools.demo.query import run_query_demo
from router.tools.demo.scenario import ArchiveContents, DemoResult, Line, LineKind, run_storage_demo

__all__ = [
    "ArchiveContents",
    "DemoResult",
    "Line",
    "LineKind",
    "run_commitment_demo",
    "run_query_demo",
    "run_steps_demo",
    "run_storage_demo",
    "write_objects",
]
