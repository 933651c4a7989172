"""The stream of received bytes: PDU headers, bodies gathered under a cap, and P-DATA-TF handed out as it arrives.

`Framing` hands out the buffer that is received into and walks what arrived. It knows lengths and the layout of PDVs;
the state table is not here: who calls `next` is given the header of every PDU that is not plain data and says
`gather` or `skip`. Promises:
- a length is judged from the header, before a byte of the body is kept;
- a P-DATA-TF is never gathered: what has arrived of a PDV goes out as a `Fragment`, a view into the lent buffer, so
  that a PDU of any length needs no memory but that buffer;
- the work is linear in the bytes: one pass, and at most one move of a few left-over bytes per call of `writable`;
- a caller that lends its own buffer for a read may have it back before the next: what is kept is part of a header.
"""

from collections.abc import Container
from typing import NamedTuple, NoReturn

from pdu.effects import Effect, Fragment, Indication
from pdu.errors import ContextNotAccepted, InvalidParameterValue, LocalError, Overrun, PDUTooLong
from pdu.pdus import PDUType
from pdu.reader import HEADER, PDV_HEADER

SMALLEST_BUFFER = 64
"""Bytes: headers must fit whole."""

_NOTHING = memoryview(bytearray())
_SMALLEST_PDV = 6
_P_DATA_TF = int(PDUType.P_DATA_TF)


class Header(NamedTuple):
    """A PDU begins: its type, known or not, and how many bytes follow the header."""

    pdu_type: int
    length: int


class Body(NamedTuple):
    """A gathered PDU is complete."""

    pdu_type: PDUType
    data: memoryview


class Framing:
    """One connection's inbound half."""

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
        self._deaf = False

    def writable(self) -> memoryview:
        """Where to receive into; never empty. Takes back every `Fragment` handed out so far.

        Where nothing is lent, it is a buffer of the engine's own, made when it is asked for first.
        """
        if len(self._view) < SMALLEST_BUFFER:
            self.lend(memoryview(bytearray(self._buffer_size)))
        left = self._end - self._start
        if self._start:
            self._view[:left] = self._view[self._start : self._end]
            self._start, self._end = 0, left
        return self._view[left:]

    def lend(self, buffer: memoryview) -> None:
        """Receive into `buffer` from here on, of at least `SMALLEST_BUFFER` bytes. Takes back every `Fragment`."""
        if len(buffer) < SMALLEST_BUFFER:
            raise LocalError(f"a buffer of {len(buffer)} bytes is too small to receive into")
        self._keep(buffer)

    def give_back(self) -> None:
        """Use the lent buffer no longer. Takes back every `Fragment`; what is left of the bytes is kept: less than a
        header, as long as what arrived has been gone through."""
        self._keep(memoryview(bytearray(self._end - self._start)) if self._end > self._start else _NOTHING)

    def _keep(self, buffer: memoryview) -> None:
        """Move the bytes that are left into another buffer."""
        left = self._end - self._start
        buffer[:left] = self._view[self._start : self._end]
        self._view, self._start, self._end = buffer, 0, left

    def arrived(self, count: int) -> None:
        """`count` bytes were received into what `writable` lent."""
        if not 0 <= count <= len(self._view) - self._end:
            raise LocalError(f"{count} bytes cannot have been received")
        self._end += count

    def expect_data(self, contexts: Container[int], maximum_length: int) -> None:
        """From here P-DATA-TF is welcome on these contexts, its variable field no longer than `maximum_length`
        (0: no limit)."""
        self._contexts = contexts
        self._maximum_length = maximum_length

    def refuse_data(self) -> None:
        """From here a P-DATA-TF is a header like any other; what is left of one that has begun is skipped."""
        self._contexts = None
        self._skip_left += self._pdv_left + self._data_left
        self._data_left = self._pdv_left = 0

    def gather(self, header: Header) -> None:
        """Keep the body of the PDU whose header `next` returned; the caller has judged its length."""
        self._gathered = bytearray()
        self._gather_type = PDUType(header.pdu_type)
        self._gather_left = header.length

    def skip(self, header: Header) -> None:
        """Throw away the body of the PDU whose header `next` returned, however long."""
        self._skip_left = header.length

    def deafen(self) -> None:
        """Throw away what is here and all that comes: after a violation nobody knows where the next PDU begins."""
        self._deaf = True
        self._start = self._end

    def next(self, out: list[Effect | Indication]) -> Header | Body | None:
        """Go on through what arrived: append fragments to `out` up to the next header that is the caller's to judge
        or the end of a gathered body, which is returned; None where the bytes are used up."""
        if self._deaf:
            self._start = self._end
            return None
        if self._gathered is not None:
            return self._gather()
        if self._skip_left:
            step = min(self._skip_left, self._end - self._start)
            self._skip_left -= step
            self._start += step
        return self._stream(out)

    def _judge_data(self, length: int) -> None:
        """The variable field of a P-DATA-TF, judged before any of it is read (PS3.8 D.1, 9.3.5)."""
        if self._maximum_length and length > self._maximum_length:
            raise PDUTooLong(f"P-DATA-TF of {length} bytes, where {self._maximum_length} were announced")
        if length < _SMALLEST_PDV:
            raise InvalidParameterValue(f"P-DATA-TF of {length} bytes has no room for a PDV")

    def _refuse_pdv(self, length: int, context_id: int, room: int) -> NoReturn:
        """Say what is wrong with a PDV item by its header (PS3.8 9.3.5.1)."""
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
        """The hot path. Per PDU one header, per PDV one header and one view; no byte is copied.

        `pdv_left` counts what is left of a PDV, `data_left` what is left of its P-DATA-TF after it. A PDV ends with its
        PDU or leaves room for another one, so that a PDU never ends within a header.
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
                self._judge_data(data_left)
        self._start = at
        self._data_left, self._pdv_left = data_left, pdv_left
        self._context_id, self._is_command, self._ends = context_id, is_command, ends
        return header
