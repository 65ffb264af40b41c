"""Measures the link before frames flow, and holds what was measured beside what was set.

The running link forwards to the cloud alone and shows all it forwards to the listener, so a probe through it would land
in the session's counters and in the capture. The probe therefore starts a link of its own for two or three seconds:
the same program (``python -m wire.relay``), settings, seed and machine, without a mirror, forwarding back to here.
Both ends of the probe read one clock (CLOCK_MONOTONIC), so delays are measured one way and no offset is estimated. What
it cannot show is the load that edge, cloud and attacker put on the machine afterwards.

* delay: stamped messages of 16 bytes, farther apart than the jitter, so that none waits for the one before; median.
* jitter: twice their interquartile range, which for a uniform draw from 0 to J is J.
* rate: at the receiver, after the first burst; the sender's clock says nothing, since buffers swallow what it sends.

In band: rate within 5 %, median one-way delay within 5 % or 2 ms of ``delay + jitter / 2``, whichever is more, and two
standard errors of the median for the jitter's own chance.
"""

from __future__ import annotations

import math
import socket
import struct
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lab.supervisor import Role
from lab.tables import Entry, Sheet
from wire.errors import RunError
from wire.link import LinkState
from wire.relay import LinkPatch
from wire.shaper import LinkSettings

RATE_BAND = 0.05
DELAY_BAND, DELAY_BAND_MS = 0.05, 2.0
"""Promised: the set rate within 5 %, the set delay within 5 % or 2 ms, whichever is more."""

DELAY_S = 1.5
"""Time for the delays of both directions together; jitter sets how many fit."""

MIN_STAMPS, MAX_STAMPS = 12, 60
RATE_S = 0.8
"""Time for the rate of one direction."""

MAX_RATE_BYTES = 48 << 20
"""A fast link is through with these sooner; more would only take the processor from others."""

PATIENCE_S = 20.0
_STAMP = struct.Struct("<Qq")
_DIRECTIONS = ("up", "down")


@dataclass(frozen=True)
class Measured:
    """One direction. rate_mbps: megabits (10^6) a second at the receiver; None when all arrived at once, as on a
    machine that is too busy to look. delay_ms: median one way. stamps: how many it is the median of."""

    rate_mbps: float | None
    delay_ms: float
    jitter_ms: float
    stamps: int


def measure(link: Mapping[str, Any], seed: int, folder: Path) -> dict[str, Any]:
    """Start a link with these settings (a role file's keys), measure both directions, stop it.

    folder: where its role file and log are kept. Returns ``set`` and ``measured`` (by direction), ``within_band``,
    ``out_of_band`` (a line for each figure that is not) and ``method``. RunError when no link comes up or answers.
    """
    state = settings_of(link)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        forward = f"127.0.0.1:{listening.getsockname()[1]}"
        config = {"listen": "127.0.0.1:0", "forward": forward, "control": "127.0.0.1:0", "seed": seed, **link}
        role = Role("probe", "wire.relay", config, folder, restart=False)
        role.start()
        try:
            port = int(role.wait_ready()["port"])
            found = {name: _measure(listening, port, name, getattr(state, name)) for name in _DIRECTIONS}
        except OSError as error:
            raise RunError(f"the link could not be measured: {error}; its log: {role.last_words()}") from error
        finally:
            role.stop()
    return compared(state, found)


def settings_of(link: Mapping[str, Any]) -> LinkState:
    """What a role file's keys (``rate_mbps``, ``delay_ms``, ``jitter_ms``, ``up``, ``down``) set."""
    return LinkPatch.model_validate(dict(link)).on_link(LinkState())


def compared(state: LinkState, found: Mapping[str, Measured]) -> dict[str, Any]:
    """``summary.json``'s ``link_measured``: set beside measured, and every figure that is out of its band."""
    out = [f"{name} {line}" for name in _DIRECTIONS for line in out_of_band(getattr(state, name), found[name])]
    return {
        "set": asdict(state),
        "measured": {name: asdict(values) for name, values in found.items()},
        "within_band": not out,
        "out_of_band": out,
        "method": "a second link with the same settings and seed, before the first frame",
    }


def out_of_band(wanted: LinkSettings, got: Measured) -> list[str]:
    """A line for each figure of one direction that misses its setting by more than was promised."""
    lines = []
    if got.rate_mbps is None:
        lines.append("rate not measured: all bytes arrived at once")
    elif wanted.rate_mbps is not None and abs(got.rate_mbps / wanted.rate_mbps - 1) > RATE_BAND:
        lines.append(f"rate {got.rate_mbps:.4g} Mbit/s, set {wanted.rate_mbps:.4g} (band {RATE_BAND:.0%})")
    middle = wanted.delay_ms + wanted.jitter_ms / 2
    # The median of n uniform draws from 0 to J has the standard error J / (2 sqrt n).
    chance = wanted.jitter_ms / math.sqrt(max(1, got.stamps))
    band = max(DELAY_BAND * middle, DELAY_BAND_MS) + chance
    if abs(got.delay_ms - middle) > band:
        lines.append(f"delay {got.delay_ms:.3g} ms, set {middle:.3g} in the median (band {band:.2g} ms)")
    return lines


def line(measured: Mapping[str, Any]) -> str:
    """Set beside measured in one line, for the terminal; empty for a run from before links were measured."""
    if not measured:
        return ""
    parts = []
    for name in _DIRECTIONS:
        wanted, got = measured["set"][name], measured["measured"][name]
        rate = "unlimited" if wanted["rate_mbps"] is None else f"{wanted['rate_mbps']:.4g} Mbit/s"
        middle = wanted["delay_ms"] + wanted["jitter_ms"] / 2
        rates = f"{rate} set, {_figure(got['rate_mbps'])} measured"
        parts.append(f"{name} {rates}; {middle:.3g} ms set, {got['delay_ms']:.3g} measured")
    verdict = "" if measured["within_band"] else f" - OUT OF BAND: {'; '.join(measured['out_of_band'])}"
    return f"link {', '.join(parts)}{verdict}"


def sheet(cells: Sequence[tuple[str, Mapping[str, Any]]]) -> Sheet:
    """Set beside measured for a report. cells: title and summary; those without a measurement say so."""
    columns = ("cell", "direction", "rate (Mbit/s)", "one-way delay (ms)", "jitter (ms)", "within band")
    made = Sheet("The link: measured before the first frame, and as it was set", columns)
    for title, summary in cells:
        measured = summary.get("link_measured") or {}
        for name in _DIRECTIONS if measured else ():
            wanted, got = measured["set"][name], measured["measured"][name]
            rate = "unlimited" if wanted["rate_mbps"] is None else f"{wanted['rate_mbps']:.4g}"
            middle = wanted["delay_ms"] + wanted["jitter_ms"] / 2
            out = [text for text in measured["out_of_band"] if text.startswith(f"{name} ")]
            made.add(
                [
                    Entry(title, kind="name"),
                    Entry(name),
                    Entry(_figure(got["rate_mbps"]), (f"set {rate}",)),
                    Entry(f"{got['delay_ms']:.3g}", (f"set {middle:.3g} in the median",)),
                    Entry(f"{got['jitter_ms']:.3g}", (f"set {wanted['jitter_ms']:.3g}",)),
                    Entry("no: no claim about latency rests on this row" if out else "yes", tuple(out)),
                ]
            )
        if not measured:
            made.add([Entry(title, kind="name"), *[Entry("–", why="not measured") for _ in columns[1:]]])
    made.notes.append(
        "A second link with the same settings and seed, before the first frame. Band: rate 5 %, delay 5 % or 2 ms "
        "and the chance of its jitter; jitter is printed, not judged. up: edge to cloud."
    )
    return made


def _figure(rate_mbps: float | None) -> str:
    return "not" if rate_mbps is None else f"{rate_mbps:.4g}"


def _measure(listening: socket.socket, port: int, direction: str, wanted: LinkSettings) -> Measured:
    """One direction on a connection of its own: delays while it is idle, then the rate."""
    listening.settimeout(PATIENCE_S)
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as near:
        far, _ = listening.accept()
        with far:
            for end in (near, far):
                end.settimeout(PATIENCE_S + wanted.delay_ms / 1000)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sender, receiver = (near, far) if direction == "up" else (far, near)
            delays = _delays(sender, receiver, wanted)
            rate = _rate(sender, receiver, wanted)
    low, middle, high = np.percentile(delays, [25, 50, 75])
    return Measured(rate, float(middle), float(2 * (high - low)), len(delays))


def _delays(sender: socket.socket, receiver: socket.socket, wanted: LinkSettings) -> list[float]:
    """One-way delays (ms) of messages sent farther apart than the jitter."""
    apart = wanted.jitter_ms / 1000 + max(0.003, 4 * _STAMP.size / wanted.rate)
    count = min(MAX_STAMPS, max(MIN_STAMPS, int(DELAY_S / len(_DIRECTIONS) / apart)))

    def send() -> None:
        for number in range(count):
            sender.sendall(_STAMP.pack(number, time.monotonic_ns()))
            time.sleep(apart)

    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send)
        delays = []
        for _ in range(count):
            data = _exactly(receiver, _STAMP.size)
            _, sent = _STAMP.unpack(data)
            delays.append((time.monotonic_ns() - sent) / 1e6)
        sending.result()
    return delays


def _rate(sender: socket.socket, receiver: socket.socket, wanted: LinkSettings) -> float | None:
    """Megabits a second at the receiver, from the end of the first burst to the last byte.

    The first burst: what the link lets through at once (10 ms of its rate), and the time until the running maximum of
    the jitter has settled, as no chunk overtakes another.
    """
    settle = 0.03 + 2 * wanted.jitter_ms / 1000
    total = int(min(MAX_RATE_BYTES, max(4 * wanted.chunk_bytes, (RATE_S + settle) * min(wanted.rate, 1e12))))
    skip = int(min(total / 2, settle * min(wanted.rate, 1e12)))

    def send() -> None:
        block = memoryview(bytes(min(total, 1 << 20)))
        left = total
        while left:
            left -= sender.send(block[: min(left, len(block))])

    # A daemon, not a pool: when the receiver gives up, nobody waits for a sender that the link has stalled.
    thread = threading.Thread(target=send, name="probe-send", daemon=True)
    thread.start()
    buffer = bytearray(1 << 20)
    got = started_at = 0
    started = 0.0
    while got < total:
        size = receiver.recv_into(buffer)
        if not size:
            raise OSError(f"it closed after {got} of {total} bytes")
        got += size
        if not started_at and got > skip:
            started_at, started = got, time.monotonic()
    ended = time.monotonic()
    thread.join(PATIENCE_S)
    if got == started_at or ended <= started:
        return None
    return (got - started_at) * 8e-6 / (ended - started)


def _exactly(source: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = source.recv(size - len(data))
        if not part:
            raise OSError(f"it closed after {len(data)} of {size} bytes")
        data += part
    return data
