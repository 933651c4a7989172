"""Types of the keys of router.toml: an annotation names the reader of what TOML gave.

Durations are seconds and sizes are bytes, whatever the file wrote. Services use these types for their keys, too.
Not here: the readers (`identifiers`, `quantities`, `patterns`), and which keys there are (`values`, the services).
"""

from typing import Annotated

from router.config import identifiers, patterns, quantities
from router.config.identifiers import Endpoint
from router.config.patterns import Globs, UIDs
from router.config.reading import Each, One

Flag = Annotated[bool, One(identifiers.flag)]
Wait = Annotated[float, One(quantities.wait)]
"""More than zero."""
Duration = Annotated[float, One(quantities.duration)]
"""Zero or more."""
PDULength = Annotated[int, One(quantities.pdu_length)]
AETitle = Annotated[str, One(identifiers.ae_title)]
OptionalAETitle = Annotated[str, One(identifiers.optional_ae_title)]
OptionalAddress = Annotated[Endpoint | None, One(identifiers.optional_connecting)]
Patterns = Annotated[Globs, Each(patterns.glob, Globs)]
SOPClasses = Annotated[UIDs, Each(patterns.sop_class, patterns.sop_classes)]
TransferSyntaxes = Annotated[UIDs, Each(patterns.transfer_syntax, patterns.transfer_syntaxes)]
RankedTransferSyntaxes = Annotated[tuple[UIDs, ...], Each(patterns.transfer_syntax, patterns.ranked_transfer_syntaxes)]

ANYTHING = Globs(("*",))
ANY_SOP_CLASS = patterns.sop_classes(("*",))
ANY_TRANSFER_SYNTAX = patterns.transfer_syntaxes(("*",))
