"""The stream of received bytes: PDU headers, bodies gathered under a cap, P-DATA-TF passed on as it arrives.

`Framing` lends the receive buffer and parses the bytes in it. It knows lengths and the layout of PDVs. The state table
is not here: `next` returns the header of every PDU that is not P-DATA-TF in its place, and the caller decides whether
to `gather` or to `skip` the body. Promises:
- a length is checked in the header, before a byte of the body is kept;
- a P-DATA-TF is never gathered: each piece of a PDV that has arrived becomes a `Fragment`, a view into the receive
  buffer, so that a PDU of any length needs no other memory;
- the work is linear in the bytes: one pass, and at most one move of a partial header per call of `writable`;
- a caller that lends its own buffer for one read can have it back before the next: only part of a header is kept.
"""

from collections.abc import Container
from typing import NamedTuple, NoReturn

from pdu.effects import Effect, Fragment, Indication
from pdu.errors import ContextNotAccepted, InvalidParameterValue, LocalError, Overrun, PDUTooLong
from pdu.pdus import PDUType
from pdu.reader import HEADER, PDV_HEADER

SMALLEST_BUFFER = 64
"""Bytes of the smallest receive buffer. The longest header, of a PDU or a PDV, has 6 and must fit whole."""

_NOTHING = memoryview(bytearray())
_SMALLEST_PDV = 6
_P_DATA_TF = int(PDUType.P_DATA_TF)


class Header(NamedTuple):
    """The header of a PDU: its type, known or not, and the number of bytes that follow."""

    pdu_type: int
    length: int


class Body(NamedTuple):
    """The complete body of a gathered PDU."""

    pdu_type: PDUType
    data: memoryview


class Framing:
    """The inbound half of one connection."""

    def __init__(self, buffer_size: int) -> None:
        self._buffer_size = max(buffer_size, SMALLEST_BUFFER)
        self._view = _NOTHING
        self._start = self._end = 0
        self._contexts: Container[int] | None = None
        self._maximum_length = 0
        self._data_left = self._pdv_left = self._context_id = 0
        self._is_command = self._ends = False
        self._skip_left = 0
        self._gathered: bytearray | None = None
        self._gather_type = PDUType.A_ABORT
        self._gather_left = 0
        self._discarding = False

    def writable(self) -> memoryview:
        """Return the space to receive into, never empty. Invalidates every earlier `Fragment`.

        Without a lent buffer it is the engine's own, which is allocated at the first call.
        """
        if len(self._view) < SMALLEST_BUFFER:
            self.lend(memoryview(bytearray(self._buffer_size)))
        left = self._end - self._start
        if self._start:
            self._view[:left] = self._view[self._start : self._end]
            self._start, self._end = 0, left
        return self._view[left:]

    def lend(self, buffer: memoryview) -> None:
        """Receive into `buffer` from now on. Invalidates every earlier `Fragment`.

        Raises:
            LocalError: the buffer is smaller than `SMALLEST_BUFFER`.
        """
        if len(buffer) < SMALLEST_BUFFER:
            raise LocalError(f"a buffer of {len(buffer)} bytes is too small to receive into")
        self._keep(buffer)

    def give_back(self) -> None:
        """Stop using the lent buffer. Invalidates every earlier `Fragment`.

        Bytes that were not parsed are kept: less than a header if `next` has returned None.
        """
        self._keep(memoryview(bytearray(self._end - self._start)) if self._end > self._start else _NOTHING)

    def _keep(self, buffer: memoryview) -> None:
        """Move the bytes that were not parsed into another buffer."""
        left = self._end - self._start
        buffer[:left] = self._view[self._start : self._end]
        self._view, self._start, self._end = buffer, 0, left

    def arrived(self, count: int) -> None:
        """Note that `count` bytes were received into `writable()`."""
        if not 0 <= count <= len(self._view) - self._end:
            raise LocalError(f"{count} bytes cannot have been received")
        self._end += count

    def expect_data(self, contexts: Container[int], maximum_length: int) -> None:
        """Pass on P-DATA-TF on these contexts from now on.

        `maximum_length`: bytes allowed in its variable field; 0 means no limit.
        """
        self._contexts = contexts
        self._maximum_length = maximum_length

    def refuse_data(self) -> None:
        """Return P-DATA-TF as a header like any other from now on; skip the rest of one that has begun."""
        self._contexts = None
        self._skip_left += self._pdv_left + self._data_left
        self._data_left = self._pdv_left = 0

    def gather(self, header: Header) -> None:
        """Keep the body of the PDU whose header `next` returned; the caller has checked its length."""
        self._gathered = bytearray()
        self._gather_type = PDUType(header.pdu_type)
        self._gather_left = header.length

    def skip(self, header: Header) -> None:
        """Discard the body of the PDU whose header `next` returned, whatever its length."""
        self._skip_left = header.length

    def discard_input(self) -> None:
        """Discard what has arrived and all that follows: after a violation the start of the next PDU is unknown."""
        self._discarding = True
        self._start = self._end

    def next(self, out: list[Effect | Indication]) -> Header | Body | None:
        """Parse what arrived and append fragments to `out`, up to the next header or gathered body.

        Return that header or body, or None if all bytes are parsed.

        Raises:
            ProtocolError: a length or a presentation context ID is not allowed.
        """
        if self._discarding:
            self._start = self._end
            return None
        if self._gathered is not None:
            return self._gather()
        if self._skip_left:
            step = min(self._skip_left, self._end - self._start)
            self._skip_left -= step
            self._start += step
        return self._stream(out)

    def _check_length(self, length: int) -> None:
        """Check the length of a P-DATA-TF before any of its body is read (PS3.8 D.1, 9.3.5)."""
        if self._maximum_length and length > self._maximum_length:
            raise PDUTooLong(f"P-DATA-TF of {length} bytes, where {self._maximum_length} were announced")
        if length < _SMALLEST_PDV:
            raise InvalidParameterValue(f"P-DATA-TF of {length} bytes has no room for a PDV")

    def _refuse_pdv(self, length: int, context_id: int, room: int) -> NoReturn:
        """Raise the error in the header of a PDV item (PS3.8 9.3.5.1)."""
        if self._contexts is not None and context_id in self._contexts:
            raise Overrun(f"PDV of {length} bytes, where its P-DATA-TF has {room} left for it")
        raise ContextNotAccepted(f"PDV on presentation context {context_id}, which was not accepted")

    def _gather(self) -> Body | None:
        assert self._gathered is not None
        step = min(self._gather_left, self._end - self._start)
        self._gathered += self._view[self._start : self._start + step]
        self._start += step
        self._gather_left -= step
        if self._gather_left:
            return None
        body = Body(self._gather_type, memoryview(self._gathered))
        self._gathered = None
        return body

    def _stream(self, out: list[Effect | Indication]) -> Header | None:
        """Parse P-DATA-TF: the hot path. One header per PDU, one header and one view per PDV; no byte is copied.

        `pdv_left`: bytes left of the PDV; `data_left`: bytes of the P-DATA-TF after it. A PDV ends where its PDU ends
        or leaves space for the header of another one, so that a PDU never ends within a header.
        """
        view, at, end = self._view, self._start, self._end
        contexts: Container[int] = self._contexts or ()
        data_left, pdv_left = self._data_left, self._pdv_left
        context_id, is_command, ends = self._context_id, self._is_command, self._ends
        new = tuple.__new__  # makes a Fragment in a third of the time of its own constructor
        header: Header | None = None
        while at < end:
            if pdv_left:
                stop = at + pdv_left
                if stop > end:
                    stop = end
                pdv_left -= stop - at
                out.append(new(Fragment, (context_id, is_command, ends and not pdv_left, view[at:stop])))
                at = stop
            elif end - at < 6:
                break
            elif data_left:
                # PS3.8 Table 9-23: item length (bytes 1-4), context ID (5), message control header (6, annex E.2)
                length, context_id, control = PDV_HEADER.unpack_from(view, at)
                at += 6
                data_left -= 4 + length
                if length < 2 or context_id not in contexts or (data_left < 6 and data_left):
                    self._refuse_pdv(length, context_id, data_left + length)
                pdv_left = length - 2
                is_command, ends = control & 1 == 1, control & 2 == 2
                if ends and not pdv_left:
                    out.append(Fragment(context_id, is_command, True, view[at:at]))
            else:
                pdu_type, data_left = HEADER.unpack_from(view, at)
                at += 6
                if pdu_type != _P_DATA_TF or self._contexts is None:
                    header, data_left = Header(pdu_type, data_left), 0
                    break
                self._check_length(data_left)
        self._start = at
        self._data_left, self._pdv_left = data_left, pdv_left
        self._context_id, self._is_command, self._ends = context_id, is_command, ends
        return header
