"""The demonstration: a router between a modality and two archives, in one process, on real sockets and a real disk.

The router is that of a configuration file with its addresses exchanged for free ports on this machine. The archives
are routers too, which hold everything they are given; so the demonstration needs nothing that is not here.
"""

from router.tools.demo.commitment import perform_promises
from router.tools.demo.mpps import Line, perform_steps
from router.tools.demo.objects import write_objects
from router.tools.demo.stage import ArchiveContents, DemoResult, perform

__all__ = ["ArchiveContents", "DemoResult", "Line", "perform", "perform_promises", "perform_steps", "write_objects"]
