"""Errors of the spool, and what the caller does about them."""


class SpoolError(Exception):
    """Base of the errors of the spool."""


class SpoolLocked(SpoolError):
    """Another process uses this spool."""


class SpoolUnusable(SpoolError):
    """The directory cannot be a spool: no directory, no access, a symbolic link where a directory must be."""


class SpoolClosed(SpoolError):
    """`run` has ended; nothing was done of what was asked."""


class SpoolFailure(SpoolError):
    """The disk failed, and the process must stop.

    A sync that failed is never tried again: the kernel may have dropped the pages that it could not write.
    """


class OutOfSpace(SpoolError):
    """The disk has no room for a message, or no file descriptor is left; nothing of a new message is kept.

    Answer a C-STORE with A700H (PS3.4 B.2.3).
    """


class TooLarge(SpoolError):
    """A data set is longer than its service allows; nothing of it is kept."""


class DuplicateRefused(SpoolError):
    """Other bytes under the same SOP Instance UID are still unfinished, and the policy is "refuse"."""


class DamagedMessage(SpoolError):
    """The stored bytes of a message are not those that were received, or are gone."""


class UnknownMessage(SpoolError):
    """The message was never there, or is finished and deleted."""
