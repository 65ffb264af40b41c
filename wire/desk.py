"""The cloud's side of one session: the machine, its lock, and the thread that works its transfers off, one by one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from wire.cloud_session import CloudSession
from wire.envelope import encode
from wire.errors import DecodeError, EavesplitError, InputError, SessionRefused
from wire.handshake import Opening
from wire.payload import Payload
from wire.pb import frame_pb2 as pb
from wire.peer import refusal_text
from wire.stream import Arrived
from wire.transfer import Outgoing, pack

UP, DOWN = 0, 1
"""Directions of a copy, as :mod:`wire.mirror` numbers them."""

OnCopy = Callable[[bytes, int, bytes], None]
"""Called with the session's id, the direction and a whole transfer as one serialised envelope; first with the Open, and
last with the Close where the edge said goodbye."""

log = logging.getLogger(__name__)


class SessionHandler(Protocol):
    """What a service keeps for one session. Called from one thread, one transfer at a time, in their order."""

    def reply(self, payload: Payload, exchange: int, turn: int, part: int, parts: int) -> Payload:
        """The reply to one part; its tensors must not change afterwards. DecodeError refuses the payload by its layout;
        any other exception is told to the edge as ``COMPUTE``. The session goes on either way."""
        ...

    def close(self) -> None:
        """The session is over."""
        ...


@runtime_checkable
class Checkpointed(Protocol):
    """A handler that tells the edge from which steps it could go on."""

    checkpoints: tuple[int, ...]


class Service(Protocol):
    """What answers sessions."""

    def open(self, opening: Opening) -> SessionHandler:
        """A handler, or SessionRefused with a code of ``proto/frame.proto``."""
        ...


class Desk:
    """Runs one session. ``changed`` guards ``machine`` and is notified whenever something may have to be sent."""

    def __init__(
        self,
        service: Service,
        machine: CloudSession,
        opened_with: pb.Envelope,
        on_copy: OnCopy | None,
        on_end: Callable[[], None],
    ) -> None:
        self.machine = machine
        self.changed = threading.Condition()
        self.detached_ns = 0
        self.goodbye: bytes | None = None  # the edge's Close, as it came
        self.counts = {"transfers": 0, "answered": 0, "failed": 0}
        self._service, self._on_copy, self._on_end = service, on_copy, on_end
        self._opened_with, self._closed = opened_with, False
        self._thread = threading.Thread(target=self._work, name="wire-tail", daemon=True)

    def start(self) -> None:
        """Open the handler and begin to work, in a thread of its own."""
        self._thread.start()

    def close(self) -> None:
        """End after the transfer that is being worked on."""
        with self.changed:
            self._closed = True
            self.changed.notify_all()

    def join(self, timeout: float) -> bool:
        """Whether the thread has ended within ``timeout`` seconds."""
        if self._thread is not threading.current_thread() and self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _work(self) -> None:
        handler: SessionHandler | None = None
        try:
            handler = self._open()
            while handler is not None:
                with self.changed:
                    self.changed.wait_for(lambda: self._closed or self.machine.may_work)
                    if self._closed:
                        break
                    job = self.machine.take()
                self._job(handler, job)
            if handler is not None and self.goodbye is not None:
                self._hand_on(UP, self.goodbye)
        finally:
            self._on_end()
            if handler is not None:
                handler.close()

    def _open(self) -> SessionHandler | None:
        opening = self.machine.opening
        try:
            handler = self._service.open(opening)
        except SessionRefused as error:
            self._refuse(error.code, refusal_text(error))
            return None
        except Exception as error:
            log.exception("session %s could not be opened", opening.session_id.hex())
            self._refuse("COMPUTE", _one_line(error))
            return None
        self._copy(UP, self._opened_with, [])
        with self.changed:
            self.machine.ready(handler.checkpoints if isinstance(handler, Checkpointed) else ())
            self.changed.notify_all()
        return handler

    def _refuse(self, code: str, message: str) -> None:
        with self.changed:
            self.machine.refuse(code, message)
            self.changed.notify_all()

    def _job(self, handler: SessionHandler, job: Arrived) -> None:
        timing = pb.Timing(t_first_piece_ns=job.first_ns, t_last_piece_ns=job.last_ns)
        self.counts["transfers"] += 1
        self._copy(UP, job.head, [job.assembly.data] if job.assembly else [])
        try:
            outgoing = self._answer(handler, job, timing)
        except _FrameRefused as error:
            with self.changed:
                self.counts["failed"] += 1
                self.machine.fail(job, error.code, error.text, time.monotonic_ns())
                self.changed.notify_all()
            return
        with self.changed:
            number = self.machine.answer(job, outgoing, timing, time.monotonic_ns())
            self.counts["answered"] += 1
            self.changed.notify_all()
        self._copy(DOWN, pb.Envelope(transfer_id=number, header=outgoing.header), outgoing.data())

    def _answer(self, handler: SessionHandler, job: Arrived, timing: pb.Timing) -> Outgoing:
        header = job.head.header
        if job.assembly is None:
            raise _FrameRefused(*(job.refused or ("BAD_HEADER", "no header")))
        try:
            payload = job.assembly.payload()
        except DecodeError as error:
            raise _FrameRefused("BAD_HEADER", str(error)) from error
        timing.t_decoded_ns = timing.t_tail_start_ns = time.monotonic_ns()
        place = (int(header.exchange), int(header.turn), int(header.part), int(header.parts))
        try:
            reply = handler.reply(payload, *place)
            timing.t_tail_end_ns = time.monotonic_ns()
            exchange, turn, part, parts = place
            crc = header.HasField("crc32")
            opening = self.machine.opening
            outgoing = pack(reply, opening.piece_bytes, exchange=exchange, turn=turn, part=part, parts=parts, crc=crc)
        except DecodeError as error:
            raise _FrameRefused("BAD_LAYOUT", str(error)) from error
        except Exception as error:
            if not isinstance(error, EavesplitError) or isinstance(error, InputError):
                log.exception("exchange %d turn %d part %d failed", *place[:3])
            raise _FrameRefused("COMPUTE", _one_line(error)) from error
        if outgoing.nbytes > opening.max_transfer_bytes:
            text = f"reply of {outgoing.nbytes} bytes; the edge accepts at most {opening.max_transfer_bytes}"
            raise _FrameRefused("TOO_LARGE", text)
        return outgoing

    def _copy(self, direction: int, head: pb.Envelope, views: list[memoryview]) -> None:
        if self._on_copy is not None:
            self._hand_on(direction, encode(head, b"".join(views)))

    def _hand_on(self, direction: int, message: bytes) -> None:
        if self._on_copy is None:
            return
        try:
            self._on_copy(bytes(self._opened_with.open.session_id), direction, message)
        except Exception:
            log.exception("a copy could not be handed on")


class _FrameRefused(Exception):
    def __init__(self, code: str, text: str) -> None:
        super().__init__(code, text)
        self.code, self.text = code, text


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
