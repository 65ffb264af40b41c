"""When the edge probes the cloud's clock, and which answers count. Sans-I/O."""

from __future__ import annotations

from wire.clock import PROBES, UNKNOWN, ProbeTimes, estimate
from wire.pb import frame_pb2 as pb

MEASURE_EVERY_NS = 30_000_000_000
"""An idle session measures again after so long: 50 ppm are 1.5 ms by then."""

HOLD_NS = 2_000_000_000
"""Data waits at most so long for the first measurement."""

UNDER_WAY = 4
"""Probes sent before the first is answered: few enough not to queue, enough for a link with delay."""


class ClockMeter:
    """When the edge probes the cloud's clock. Only probes that nothing disturbed count."""

    def __init__(self) -> None:
        self.result = UNKNOWN
        self.held_until = 0
        self._left = 0
        self._number = 0
        self._under_way: dict[int, int] = {}
        self._probes: list[ProbeTimes] = []
        self._measured_ns = 0

    def start(self, now_ns: int) -> None:
        """Measure, with data held back."""
        self._begin(now_ns)
        self.result = UNKNOWN
        self.held_until = now_ns + HOLD_NS

    def remeasure(self, now_ns: int) -> None:
        """Measure again if the estimate is old; nothing is held back."""
        if not self._left and not self._under_way and now_ns - self._measured_ns >= MEASURE_EVERY_NS:
            self._begin(now_ns)

    def stop(self) -> None:
        """The connection ended."""
        self._left, self.held_until = 0, 0
        self._under_way.clear()

    def disturb(self) -> None:
        """Data is about to be sent: unless it is held back, a running measurement is void."""
        if not self.held_until:
            self.stop()

    def holding(self, now_ns: int) -> bool:
        """Whether data must wait."""
        if self.held_until and now_ns >= self.held_until:
            self._finish()
        return self.held_until > 0

    def next_probe(self, now_ns: int, *, unloaded: bool) -> pb.Probe | None:
        """The next probe to send now."""
        if not self._left or len(self._under_way) >= UNDER_WAY:
            return None
        self._left -= 1
        self._number += 1
        self._under_way[self._number] = now_ns
        return pb.Probe(id=self._number, unloaded=unloaded)

    def answer(self, probe: pb.Probe, now_ns: int) -> None:
        """An answer came; heartbeats and those of an earlier measurement are passed over."""
        sent = self._under_way.pop(probe.id, None)
        if sent is None:
            return
        times = ProbeTimes(sent, probe.t2_ns, probe.t3_ns, now_ns)
        if times.bound >= 0 and probe.t3_ns >= probe.t2_ns:
            self._probes.append(times)
        if not self._left and not self._under_way:
            self._measured_ns = now_ns
            self._finish()

    def _begin(self, now_ns: int) -> None:
        self._left, self._probes, self._measured_ns = PROBES, [], now_ns
        self._under_way.clear()

    def _finish(self) -> None:
        if self._probes:
            self.result = estimate(self._probes)
        self.stop()
