"""The running router as one tree of tasks: start, reload, signals, stop."""

from router.supervisor.router import Router
from router.supervisor.signals import serve

__all__ = ["Router", "serve"]
