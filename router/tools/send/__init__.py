"""Sending files: what is in them, which associations they need, and how each of them fared."""

from router.tools.send.files import Found, find
from router.tools.send.instance import Instance, batches, elements, examine
from router.tools.send.send import Sent, Verdict, send

__all__ = ["Found", "Instance", "Sent", "Verdict", "batches", "elements", "examine", "find", "send"]
