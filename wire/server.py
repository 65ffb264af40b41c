"""The cloud's end on synchronous gRPC, with health and reflection, around :class:`wire.cloud_session.CloudSession`.

Each stream has two threads: gRPC's own pulls what is to be sent and never waits for input; a reader takes in what
comes. A session's transfers are worked off by a thread of its own (:mod:`wire.desk`) that outlives its streams.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from wire import options
from wire.cloud_session import CloudSession
from wire.credit import WINDOW
from wire.desk import Desk, OnCopy, Service, SessionHandler
from wire.envelope import decode
from wire.errors import DecodeError, InputError, SessionRefused
from wire.handshake import TRANSFER_BYTES, Opening, read_open
from wire.pb import frame_pb2 as pb
from wire.peer import Closed, Pulse, error_message, refusal_text
from wire.stream import Fault
from wire.tls import TlsFiles, server_credentials

__all__ = ["CloudServer", "OnCopy", "Opening", "Service", "SessionHandler"]

SERVICE = "eavesplit.wire.v1.Split"

MAX_SESSIONS = 16
"""Sessions in memory; each may hold several windows of payload. One more is told BUSY."""

MAX_STREAMS = 4 * MAX_SESSIONS
"""Threads of gRPC: a broken stream may linger while its session has a new one."""

LINGER_S = 120.0
"""A session without a connection is kept for so long: edges look for a cloud for 60 s."""

FIRST_MESSAGE_S = 15.0
"""A stream that has not said Open by then holds a thread for nothing."""

BUSY_RETRY_MS = 1000


class CloudServer:
    """Serves sessions on ``address`` (``HOST:PORT``; port 0: the system chooses).

    on_copy: called with every whole transfer in and out (a curious cloud); see :data:`wire.desk.OnCopy`.
    """

    def __init__(
        self,
        service: Service,
        address: str = "127.0.0.1:0",
        *,
        tls: TlsFiles | None = None,
        max_transfer_bytes: int = TRANSFER_BYTES,
        on_copy: OnCopy | None = None,
        window_bytes: int = WINDOW,
        pulse: Pulse | None = None,
        linger_s: float = LINGER_S,
    ) -> None:
        self._service, self._address, self._tls, self._on_copy = service, address, tls, on_copy
        self._max_bytes, self._window, self._pulse = max_transfer_bytes, window_bytes, pulse or Pulse()
        self._linger_ns = int(linger_s * 1e9)
        self._lock = threading.RLock()
        self._desks: dict[bytes, Desk] = {}
        self._stopping, self._stopped = False, threading.Event()
        self._ended = {"transfers": 0, "answered": 0, "failed": 0, "bytes_in": 0, "bytes_out": 0, "duplicates": 0}
        self._counts = {"opened": 0, "connections": 0, "refused": 0}
        self._server: Any = None
        self._health = health.HealthServicer()

    def start(self) -> int:
        """Listen; returns the port. InputError when the address cannot be had."""
        server = grpc.server(ThreadPoolExecutor(MAX_STREAMS, "wire-stream"), options=options.SERVER)
        handler = grpc.stream_stream_rpc_method_handler(self._session)  # no (de)serialisers: bytes in, bytes out
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Session": handler}),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        try:
            if self._tls:
                port = server.add_secure_port(self._address, server_credentials(self._tls))
            else:
                port = server.add_insecure_port(self._address)
        except RuntimeError as error:
            why = "another process listens there, or it is no address of this machine"
            raise InputError(f"cannot listen on {self._address}: {why}") from error
        server.start()
        self._server = server
        threading.Thread(target=self._keep_house, name="wire-house", daemon=True).start()
        for name in ("", SERVICE):
            self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        return int(port)

    def stop(self, grace: float = 5.0) -> None:
        """Take nothing new, finish what came within ``grace`` seconds, tell the edges, end."""
        if self._server is None:
            return
        self._health.enter_graceful_shutdown()
        with self._lock:
            self._stopping = True
            self._stopped.set()
            desks = list(self._desks.values())
        end = time.monotonic() + grace
        for desk in desks:
            with desk.changed:
                desk.machine.draining = True
                machine = desk.machine
                while not machine.quiet and time.monotonic() < end:
                    desk.changed.wait(max(0.0, end - time.monotonic()))
                desk.machine.refuse("GOING_DOWN", "the cloud is stopping", BUSY_RETRY_MS)
            desk.close()
        self._server.stop(1.0).wait()
        for desk in desks:
            desk.join(1.0)

    def counters(self) -> dict[str, int]:
        """Sums over all sessions so far."""
        with self._lock:
            totals = dict(self._ended)
            for desk in self._desks.values():
                _add(totals, desk)
            return {"connected": len(self._desks), **self._counts, **totals}

    def _session(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """One stream, from Open to its end."""
        try:
            desk, epoch = self._attach(requests, context)
        except SessionRefused as error:
            with self._lock:
                self._counts["refused"] += 1
            retry = BUSY_RETRY_MS if error.code in ("BUSY", "GOING_DOWN") else 0
            refusal = error_message(error.code, refusal_text(error), fatal=True, retry_after_ms=retry)
            yield pb.Envelope(error=refusal).SerializeToString()
            return
        if desk is None:
            return
        ended = threading.Event()

        def end() -> None:
            ended.set()
            with desk.changed:
                desk.changed.notify_all()

        if not context.add_callback(end):
            end()
        threading.Thread(target=self._read, args=(desk, epoch, requests, end), name="wire-read", daemon=True).start()
        try:
            yield from self._write(desk, epoch, ended)
        finally:
            with desk.changed:
                desk.machine.detach(epoch)
                desk.detached_ns = time.monotonic_ns()
                desk.changed.notify_all()

    def _attach(self, requests: Iterator[bytes], context: Any) -> tuple[Desk | None, int]:
        """Wait for the Open and find or make its session. Raises SessionRefused."""
        timer = threading.Timer(FIRST_MESSAGE_S, context.cancel)
        timer.daemon = True
        timer.start()
        message = _next(requests)
        timer.cancel()
        if message is None:
            return None, 0
        try:
            head, _ = decode(message)
        except DecodeError as error:
            raise SessionRefused("PROTOCOL", str(error)) from error
        if not head.HasField("open"):
            raise SessionRefused("PROTOCOL", "the first message of a stream must be Open")
        opening = read_open(head.open, context.peer())
        with self._lock:
            if self._stopping:
                raise SessionRefused("GOING_DOWN", "the cloud is stopping")
            desk = self._find(opening, head)
            with desk.changed:
                desk.machine.attach(opening, head.ack, time.monotonic_ns())
                desk.machine.bytes_in += len(message)
                desk.detached_ns = 0
                desk.changed.notify_all()
            self._counts["connections"] += 1
        return desk, opening.epoch

    def _find(self, opening: Opening, head: pb.Envelope) -> Desk:
        known = self._desks.get(opening.session_id)
        if known is not None:
            incarnation = known.machine.opening.incarnation
            if opening.incarnation < incarnation:
                raise SessionRefused("STALE_EPOCH", f"incarnation {opening.incarnation} opens after {incarnation}")
            if opening.incarnation == incarnation:
                return known
            self._retire(opening.session_id, known)
        if len(self._desks) >= MAX_SESSIONS:
            raise SessionRefused("BUSY", f"{len(self._desks)} sessions are open; at most {MAX_SESSIONS}")
        machine = CloudSession(
            opening,
            secrets.token_bytes(16),
            max_transfer_bytes=self._max_bytes,
            window_bytes=self._window,
            pulse=self._pulse,
        )
        key = opening.session_id
        desk = Desk(self._service, machine, head, self._on_copy, lambda: self._retire(key, desk))
        self._desks[key] = desk
        self._counts["opened"] += 1
        desk.start()
        return desk

    def _retire(self, key: bytes, desk: Desk) -> None:
        """Forget a session; its thread ends after the transfer that it works on."""
        with self._lock:
            if self._desks.get(key) is desk:
                del self._desks[key]
                _add(self._ended, desk)
        desk.close()

    def _keep_house(self) -> None:
        """Forget sessions whose edge has not come back."""
        while not self._stopped.wait(self._linger_ns / 4e9):
            with self._lock:
                now = time.monotonic_ns()
                gone = [
                    (k, d) for k, d in self._desks.items() if d.detached_ns and now - d.detached_ns > self._linger_ns
                ]
            for key, desk in gone:
                self._retire(key, desk)

    def _read(self, desk: Desk, epoch: int, requests: Iterator[bytes], end: Callable[[], None]) -> None:
        try:
            while (message := _next(requests)) is not None:
                with desk.changed:
                    events = desk.machine.receive(epoch, message, time.monotonic_ns())
                    desk.changed.notify_all()
                if any(isinstance(event, Closed) for event in events):
                    desk.goodbye = message
                    self._retire(desk.machine.opening.session_id, desk)
        except Fault:
            pass  # a newer connection has taken over; the writer tells the old one
        finally:
            end()

    def _write(self, desk: Desk, epoch: int, ended: threading.Event) -> Iterator[bytes]:
        machine, beat_s = desk.machine, self._pulse.beat_ns / 1e9
        while True:
            with desk.changed:
                try:
                    while (buffers := machine.next_message(epoch, time.monotonic_ns())) is None:
                        if ended.is_set() or machine.over(epoch) or not machine.tick(epoch, time.monotonic_ns()):
                            return
                        desk.changed.wait(beat_s / 4)
                except Fault as fault:
                    stale = error_message(fault.code, fault.text, fatal=True)
                    break
            yield b"".join(buffers)
        yield pb.Envelope(error=stale).SerializeToString()


def _next(requests: Iterator[bytes]) -> bytes | None:
    """The next message; None at the end of the stream. gRPC raises a bare Exception when the call ends under it."""
    try:
        return next(requests, None)
    except Exception:
        return None


def _add(totals: dict[str, int], desk: Desk) -> None:
    machine = desk.machine
    for name, value in desk.counts.items():
        totals[name] += value
    totals["bytes_in"] += machine.bytes_in
    totals["bytes_out"] += machine.bytes_out
    totals["duplicates"] += machine.repeated
