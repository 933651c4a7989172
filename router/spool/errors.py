"""What can go wrong with the spool, and what the caller does about it."""


class SpoolError(Exception):
    """Anything the spool raises on its own account."""


class SpoolLocked(SpoolError):
    """Another process has this spool."""


class SpoolUnusable(SpoolError):
    """The directory cannot be a spool: no directory, no access, a symbolic link where a directory must be."""


class SpoolClosed(SpoolError):
    """`run` has ended; nothing was kept of what was asked."""


class SpoolFailure(SpoolError):
    """The disk did not keep its word. The process must stop: a sync that failed is never tried again, for the
    kernel may have dropped the very pages it could not write."""


class OutOfSpace(SpoolError):
    """No room on the disk for this message, or no file descriptor left; nothing of a new one is kept. To a C-STORE
    this is A700H (PS3.4 B.2.3)."""


class TooLarge(SpoolError):
    """A data set is longer than its service allows. Nothing of it is kept."""


class DuplicateRefused(SpoolError):
    """Other bytes under the same SOP Instance UID are still unfinished, and the policy is "refuse"."""


class DamagedMessage(SpoolError):
    """The stored bytes of a message are not those that were received, or are gone."""


class UnknownMessage(SpoolError):
    """No such message: never there, or finished and deleted."""
