"""Sending files: what is in them, which associations they need, and how each of them fared."""

from router.tools.send.files import FoundFiles, find
from router.tools.send.instance import Instance, batches, elements, examine
from router.tools.send.send import SendOutcome, Sent, send

__all__ = ["FoundFiles", "Instance", "SendOutcome", "Sent", "batches", "elements", "examine", "find", "send"]
