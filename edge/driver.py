"""One driver for every modality: it runs an exchange's generator, with the defense between ``yield`` and socket."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from defenses.base import Defense, Protected, Turn, hears
from victims.base import Exchange, Head, Outcome, Sample
from wire import seeds
from wire.client import Replies, ReplyTiming, Stamps
from wire.errors import EavesplitError, FrameError
from wire.payload import Meta, Payload


class Client(Protocol):
    """The part of :class:`wire.client.EdgeClient` that the driver needs."""

    def send(self, exchange: int, turn: int, parts: Sequence[Payload], stamps: Stamps) -> Replies: ...


@dataclass
class Done:
    """What came of one frame; nothing of what crossed, which of a training's step is large."""

    frame: int
    segment: int
    sample: Sample
    capture_ns: int
    start_ns: int = 0  # when the head began
    outcome: Outcome | None = None
    error: str | None = None
    timings: list[list[ReplyTiming]] = field(default_factory=list)  # of the answers, by turn
    records: list[Mapping[str, Meta]] = field(default_factory=list)  # of the defense, by turn
    head_ms: float = 0.0
    defend_ms: float = 0.0
    later_ms: float = 0.0  # what the defense took further, while parts were packed
    payload_bytes: int = 0
    done_ns: int = 0


@dataclass
class _Open:
    """An exchange under way, with the defense and the turn that it began with: a swap leaves it alone."""

    done: Done
    defense: Defense
    turn: Turn
    exchange: Exchange | None = None
    replies: Replies | None = None
    protected: Protected | None = None  # of the turn under way
    heard: list[Payload] = field(default_factory=list)  # in it, where the defense looks at it


class Driver:
    """Runs exchanges; several may be in flight, and each is finished in order.

    in_flight: exchanges whose replies are awaited at once (1 in training: a step needs the one before).
    on_done: called in the finishing thread, frame by frame in order.
    """

    def __init__(
        self,
        head: Head,
        client: Client,
        defense: Defense,
        on_done: Callable[[Done], None],
        *,
        seed: int,
        session: int = 0,
        in_flight: int = 2,
        steps: int | None = None,
        first_frame: int = 0,
        segment: int = 0,
    ) -> None:
        self._head, self._client, self._on_done = head, client, on_done
        self._seed, self._session, self._steps = seed, session, steps
        self._frame = first_frame
        self._swap = threading.Lock()
        self._defense, self._segment = defense, segment
        self._most, self._open = in_flight, 0
        self._changed = threading.Condition()
        self._waiting: queue.Queue[_Open | None] = queue.Queue()
        self._broken: BaseException | None = None
        self._finisher = threading.Thread(target=self._finish_all, name="finish", daemon=True)
        self._finisher.start()

    @property
    def next_frame(self) -> int:
        """The number that the next sample will get."""
        return self._frame

    @property
    def segment(self) -> int:
        """How often the defense has been swapped."""
        return self._segment

    def swap(self, defense: Defense) -> int:
        """Use ``defense`` from the next sample on; what is in flight keeps the old. Returns that first frame."""
        with self._swap:
            self._defense, self._segment = defense, self._segment + 1
            return self._frame

    def wait_for_room(self, *, alone: bool = False) -> None:
        """Block until another exchange may be opened; alone: until none is open. Raises what broke the stream."""
        with self._changed:
            self._changed.wait_for(lambda: self._open < (1 if alone else self._most))
        if self._broken is not None:
            raise self._broken

    def run(self, sample: Sample, capture_ns: int) -> int:
        """Take one sample through head and defense and onto the wire; returns its frame number.

        Blocks while ``in_flight`` exchanges are open. Raises what broke the stream for good.
        """
        self.wait_for_room()
        with self._changed:
            self._open += 1
        with self._swap:
            frame, defense, segment = self._frame, self._defense, self._segment
            self._frame += 1
        step = _step(sample, frame) if self._steps is not None else 0
        turn = Turn(frame, step, self._steps, segment, seeds.generator(self._seed, "defense", self._session, frame))
        item = _Open(Done(frame, segment, sample, capture_ns), defense, turn)
        item.done.start_ns = start = time.monotonic_ns()
        try:
            item.exchange = self._head.exchange(defense.prepare(sample, turn))
            parts = next(item.exchange)
        except (EavesplitError, ValueError) as error:  # this sample is bad; others go on
            item.done.error = f"{type(error).__name__}: {error}"
        else:
            head_ns = time.monotonic_ns()
            item.done.head_ms = (head_ns - start) / 1e6
            item.replies = self._send(item, 0, parts, head_ns)
        self._waiting.put(item)
        return frame

    def finish(self) -> None:
        """Wait until every open exchange is finished. Raises what broke the stream."""
        self._waiting.put(None)
        self._finisher.join()
        if self._broken is not None:
            raise self._broken

    def abandon(self) -> None:
        """End, whatever has become of open exchanges."""
        self._waiting.put(None)
        self._finisher.join()

    def _send(self, item: _Open, number: int, parts: Sequence[Payload], head_ns: int) -> Replies:
        protected = item.defense.protect(parts, item.turn)
        defend_ns = time.monotonic_ns()
        done = item.done
        done.defend_ms += (defend_ns - head_ns) / 1e6
        item.protected = protected
        done.records.append(protected.record)
        done.payload_bytes += protected.nbytes
        return self._client.send(done.frame, number, protected.parts, Stamps(done.capture_ns, head_ns, defend_ns))

    def _finish_all(self) -> None:
        while (item := self._waiting.get()) is not None:
            try:
                if self._broken is None:
                    self._finish(item)
                    item.done.done_ns = time.monotonic_ns()
                    self._on_done(item.done)
            except BaseException as error:  # kept for the thread that feeds us
                self._broken = error
            with self._changed:
                self._open -= 1
                self._changed.notify_all()

    def _finish(self, item: _Open) -> None:
        if item.exchange is None or item.replies is None:
            return
        number = 0
        try:
            while True:
                parts = item.exchange.send(self._payloads(item, item.replies))
                number += 1
                item.turn = replace(item.turn, heard=item.heard)
                item.replies = self._send(item, number, parts, time.monotonic_ns())
        except StopIteration as end:
            item.done.outcome = end.value
        except FrameError as error:
            item.done.error = str(error)
            item.exchange.close()

    @staticmethod
    def _payloads(item: _Open, replies: Replies) -> Iterator[Payload]:
        """The answers of a turn as the head takes them; kept are their times."""
        done, timings, keep = item.done, list[ReplyTiming](), hears(item.defense)
        done.timings.append(timings)
        item.heard, before_ms = [], done.later_ms
        for reply in replies:
            timings.append(reply.timing)
            done.later_ms = before_ms + (item.protected.later_ns / 1e6 if item.protected is not None else 0.0)
            if keep:
                item.heard.append(reply.payload)
            yield reply.payload


def _step(sample: Sample, frame: int) -> int:
    """The training's step that a sample belongs to: what it says itself, else the frame's number."""
    step = sample.meta.get("step", frame)
    return step if type(step) is int else frame
