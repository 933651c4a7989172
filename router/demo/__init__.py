"""The demonstration: a router between a modality and two archives, in one process, on real sockets and a real disk.

The router is that of a configuration file with its addresses exchanged for free ports on this machine. The archives
are routers too, which hold everything they are given; so the demonstration needs nothing that is not here.
"""

from router.demo.objects import write_objects
from router.demo.promises import perform_promises
from router.demo.stage import ArchiveReport, Performance, perform
from router.demo.steps import Line, perform_steps

__all__ = ["ArchiveReport", "Line", "Performance", "perform", "perform_promises", "perform_steps", "write_objects"]
