"""Send files: find and examine them, group them by association, and report the outcome of each."""

from router.tools.send.files import FoundFile, find
from router.tools.send.instance import Instance, batches, elements, examine
from router.tools.send.send import SendOutcome, Sent, send

__all__ = ["FoundFile", "Instance", "SendOutcome", "Sent", "batches", "elements", "examine", "find", "send"]
