"""One session: a head at one split point, what its strengths are measured in, and its stream to the cloud."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from defenses.base import Defense
from defenses.registry import build
from edge.calibration import calibrated
from edge.config import DefenseChoice, EdgeConfig
from edge.driver import Done, Driver
from edge.training import Continued
from victims.base import Cut, Victim
from wire.client import EdgeClient, Offer
from wire.tls import TlsFiles


class Session:
    """Ready to be opened (:attr:`client`), then to run exchanges (:meth:`start`).

    number: of the session in its run; part of every random stream's seed. continued: of a training, which may have
    begun in an earlier session of the same id.
    """

    def __init__(
        self, config: EdgeConfig, victim: Victim, cut: Cut, number: int, continued: Continued | None = None
    ) -> None:
        self.cut, self.number = cut, number
        self.first_frame = 0
        self.driver: Driver | None = None
        self.continued = continued
        self._config = config
        self.head = cut.head()
        self.calibration = calibrated(config, victim, cut.split, self.head)
        offer = Offer(
            victim=config.victim,
            split=cut.split,
            weights_sha256=cut.weights_sha256,
            config_sha256=cut.config_sha256,
            layouts=tuple(sorted(self.head.emits)),
            incarnation=continued.incarnation if continued else 0,
            checkpoints=continued.checkpoints if continued else (),
            info=continued.info if continued else {},
            session_id=continued.session_id if continued else secrets.token_bytes(16),
        )
        self.id = offer.session_id.hex()
        credentials = TlsFiles.of(config.tls) if config.tls else None
        self.client = EdgeClient(config.address, offer, credentials=credentials, resend=config.mode == "lossless")

    def defense(self, choice: DefenseChoice) -> Defense:
        """A defense whose strength is in units of this session's clean features."""
        return build(choice.name, choice.settings, self.calibration)

    def start(self, defense: Defense, on_done: Callable[[Done], None], *, first_frame: int, segment: int) -> Driver:
        """The driver of this session's frames, which are counted from ``first_frame`` on."""
        steps = self.cut.train_steps
        self.first_frame = first_frame
        self.driver = Driver(
            self.head,
            self.client,
            defense,
            on_done,
            seed=self._config.seed,
            session=self.number,
            in_flight=1 if steps else self._config.in_flight,
            steps=steps,
            first_frame=first_frame,
            segment=segment,
        )
        return self.driver

    def told(self) -> Mapping[str, Any]:
        """Its entry in the edge's record."""
        split, first = self.cut.split, self.first_frame
        incarnation = self.continued.incarnation if self.continued else 0
        told = {"session": self.id, "number": self.number, "split": split, "first_frame": first}
        return {**told, "incarnation": incarnation}
