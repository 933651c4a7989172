"""Sending files: what is in them, which associations they need, and how each of them fared."""

from router.sending.carrying import Sent, Verdict, send
from router.sending.finding import Found, find
from router.sending.instances import Instance, batches, elements, examine

__all__ = ["Found", "Instance", "Sent", "Verdict", "batches", "elements", "examine", "find", "send"]
