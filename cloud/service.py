"""Which sessions the cloud accepts, and the tail behind each."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

from cloud.config import CloudConfig
from cloud.keeping import Keeper
from cloud.snapshots import OnSnapshot, Snapshots
from victims.base import Cut, Tail, validate
from victims.registry import victim
from wire.errors import DecodeError, InputError, SessionRefused
from wire.payload import Payload
from wire.server import Opening

log = logging.getLogger(__name__)


class Handler:
    """One session's tail. Payloads are checked against their layout before the tail sees them."""

    def __init__(
        self, tail: Tail, owner: Tails, snapshots: Snapshots | None = None, keeper: Keeper | None = None
    ) -> None:
        self._tail, self._owner, self._snapshots, self._keeper = tail, owner, snapshots, keeper
        self.checkpoints = keeper.steps if keeper else ()

    def reply(self, payload: Payload, exchange: int, turn: int, part: int, parts: int) -> Payload:
        """The tail's reply. DecodeError for a payload that is not valid: the frame fails, the session goes on."""
        if payload.layout not in self._tail.accepts:
            accepted = ", ".join(sorted(self._tail.accepts))
            raise DecodeError(f"layout {payload.layout!r} is not accepted by this tail; accepted: {accepted}")
        validate(payload)
        with self._owner.computing:
            if self._snapshots is not None:
                self._snapshots.before(self._tail, payload)
            reply = self._tail.reply(payload)
            if self._keeper is not None:
                self._keep(self._keeper)  # before the edge can hear that the step is done
            return reply

    @staticmethod
    def _keep(keeper: Keeper) -> None:
        try:
            keeper.keep()
        except OSError as error:  # the step is done: to refuse it now would part the two ends
            log.warning("no checkpoint: %s", error)

    def close(self) -> None:
        """The session ended."""
        self._owner.sessions -= 1


class Tails:
    """The service behind :class:`wire.server.CloudServer`: compares what edge and cloud hold, by name.

    on_snapshot: gets the models of a curious cloud.
    """

    def __init__(self, config: CloudConfig, on_snapshot: OnSnapshot | None = None) -> None:
        self._config, self._on_snapshot = config, on_snapshot
        chosen = victim(config.victim)
        settings: Mapping[str, Any] = config.victim_settings
        self._cuts: dict[str, Cut] = {split: chosen.cut(split, settings) for split in config.splits}
        self.computing = threading.Lock()  # torch gains nothing from two tails at once on the same cores
        self.sessions = 0
        self.opened = 0
        self.refused = 0

    def open(self, opening: Opening) -> Handler:
        """A handler for the session. SessionRefused names what differs and what is served here."""
        try:
            cut = self._check(opening)
        except SessionRefused:
            self.refused += 1
            raise
        tail, tell, keeper = cut.tail(), self._on_snapshot, None
        if cut.train_steps is not None:
            with self.computing:  # an earlier incarnation may be at its last transfer
                keeper = Keeper(self._config.checkpoints, opening, cut, tail)
        self.sessions += 1
        self.opened += 1
        return Handler(tail, self, Snapshots(opening.session_id, tell) if tell else None, keeper)

    def _check(self, opening: Opening) -> Cut:
        if opening.victim != self._config.victim:
            raise SessionRefused(
                "UNKNOWN_VICTIM", f"{opening.victim!r} is not served here; served: {self._config.victim}"
            )
        cut = self._cuts.get(opening.split)
        if cut is None:
            served = ", ".join(self._cuts)
            raise SessionRefused("BAD_SPLIT", f"split {opening.split!r} is not served here; served: {served}")
        for what, theirs, ours in (
            ("weights", opening.weights_sha256, cut.weights_sha256),
            ("config", opening.config_sha256, cut.config_sha256),
        ):
            if theirs != ours:
                held = ", ".join(f"{k} {v}" for k, v in cut.info.items())
                raise SessionRefused(
                    "DIGEST_MISMATCH",
                    f"{what} of {opening.victim}/{opening.split}: edge has {theirs.hex()[:12]}, "
                    f"cloud has {ours.hex()[:12]} ({held})",
                )
        accepts = cut.tail().accepts
        unknown = sorted(set(opening.layouts) - accepts)
        if unknown:
            raise SessionRefused(
                "BAD_LAYOUT", f"layout {unknown[0]!r}; this tail accepts: {', '.join(sorted(accepts))}"
            )
        return cut


def check_victim(config: CloudConfig) -> None:
    """InputError when a split point of the role file does not exist, before anything listens."""
    splits = victim(config.victim).splits
    for split in config.splits:
        if split not in splits:
            raise InputError(f"split {split!r} does not exist in {config.victim}; there are: {', '.join(splits)}")
