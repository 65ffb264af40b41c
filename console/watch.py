"""The threads that follow edge, listener, link and cloud, and bring what is new to the desk."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any

from console.config import ConsoleConfig
from console.desk import Desk, payload_from
from console.hub import Hub
from console.poll import WAIT_S, Follower, Port, PortDown
from victims.base import Sample
from wire import arrays

STATE_EVERY_S = 0.5
PAYLOAD_S = 0.5
"""How long a reconstruction may wait for the picture of its payload, which another thread fetches."""

BEHIND = 4
"""More finished frames than that at once: the oldest have been overtaken and are not fetched."""


class Watch:
    """Follows every process that the role file names. :attr:`ports` by name, :meth:`refresh` asks for states now.

    token: what their ports ask for; attacker_token: what the listener's does.
    """

    def __init__(
        self, config: ConsoleConfig, desk: Desk, hub: Hub, token: str | None, attacker_token: str | None
    ) -> None:
        self._config, self._desk, self._hub = config, desk, hub
        self._stopping = threading.Event()
        self._ask = threading.Event()
        addresses = {
            "edge": config.edge,
            "attacker": config.attacker,
            "link": config.link,
            "cloud": config.cloud,
            **config.others,
        }
        self.ports = {
            name: Port(name, address, attacker_token if name == "attacker" else token, self.refresh)
            for name, address in addresses.items()
            if address is not None
        }
        self._states: dict[str, dict[str, Any]] = {}
        self._frame = -1
        self._sample = -1
        self._reconstruction = 0
        self._captured = 0
        self._seen = -1  # newest frame whose payload was brought to the desk
        self._seen_more = threading.Condition()
        self._last_frame = time.monotonic()
        self._followers = [
            Follower("edge", self._edge, self._stopping, on_down=self._edge_down, on_trouble=self._trouble),
            Follower("samples", self._samples, self._stopping, on_down=self._samples_down, on_trouble=self._trouble),
            Follower(
                "reconstructions",
                self._reconstructions,
                self._stopping,
                on_down=self._attacker_down,
                on_trouble=self._trouble,
            ),
            Follower("payloads", self._payloads, self._stopping, on_down=self._capture_down, on_trouble=self._trouble),
            Follower("states", self._state, self._stopping, on_trouble=self._trouble),
        ]

    def start(self) -> None:
        """Begin."""
        for follower in self._followers:
            follower.start()

    def stop(self) -> None:
        """End; questions under way are given up."""
        self._stopping.set()
        self._ask.set()
        for port in self.ports.values():
            port.close()

    def refresh(self) -> None:
        """Ask every process for its state now: something was changed."""
        self._ask.set()

    def _edge(self) -> None:
        port = self.ports["edge"]
        rows = port.json("/frames", after=self._frame, wait_s=WAIT_S)
        for row in rows[:-BEHIND]:
            self._desk.finished(row, {})
        for row in rows[-BEHIND:]:
            answer = port.get(f"/outcomes/{row['frame']}")
            self._desk.finished(row, arrays.unpack(answer.content)[0] if answer.status_code == 200 else {})
        if rows:
            self._frame, self._last_frame = int(rows[-1]["frame"]), time.monotonic()

    def _edge_down(self) -> None:
        self._frame = -1

    def _samples(self) -> None:
        """What the edge sees, while its head still works on it."""
        answer = self.ports["edge"].get("/samples/latest", after=self._sample, wait_s=WAIT_S)
        if answer.status_code != 200:
            return
        age_ms = float(answer.headers["X-Age-Ms"])
        frame, sample = _sample(answer.content)
        self._sample = frame
        self._desk.taken(frame, sample, age_ms)

    def _samples_down(self) -> None:
        self._sample = -1

    def _reconstructions(self) -> None:
        port = self.ports["attacker"]
        listed = port.json("/reconstructions", after=self._reconstruction, wait_s=WAIT_S)
        newest = {entry["meta"]["attack"]: entry for entry in listed}  # later ones win: only the newest is worth a look
        for entry in newest.values():
            answer = port.get(f"/reconstructions/{entry['number']}")
            if answer.status_code != 200:
                continue  # overtaken while we asked
            found, meta = arrays.unpack(answer.content)
            frames = meta["frames"]
            frame = int(frames[-1]) if isinstance(frames, tuple) else int(str(frames))
            self._await_payload(frame)
            self._desk.rebuilt(str(meta["session"]), frame, str(meta["attack"]), found, meta)
        if listed:
            self._reconstruction = int(listed[-1]["number"])

    def _await_payload(self, frame: int) -> None:
        """What was captured is told before what was made of it."""
        with self._seen_more:
            self._seen_more.wait_for(lambda: self._seen >= frame, PAYLOAD_S)

    def _attacker_down(self) -> None:
        self._reconstruction = 0  # numbers begin anew in every process
        self._desk.listening(False)

    def _payloads(self) -> None:
        answer = self.ports["attacker"].get("/payloads/latest", after=self._captured, wait_s=WAIT_S)
        if answer.status_code != 200:
            return
        found, meta = arrays.unpack(answer.content)
        self._captured = int(answer.headers["X-Number"])
        frame = int(str(meta["frame"]))
        self._desk.captured(str(meta["session"]), frame, payload_from(found, meta), int(str(meta["bytes"])))
        with self._seen_more:
            self._seen = frame
            self._seen_more.notify_all()

    def _capture_down(self) -> None:
        self._captured = 0

    def _state(self) -> None:
        for name, port in self.ports.items():
            try:
                self._states[name] = port.json("/state")
            except PortDown:
                continue  # what it said last stays, and the page says since when it is silent
        self._ask.clear()
        self._heard(self._states.get("attacker", {}))
        self._cut(self._states.get("edge", {}))
        self._hub.publish("status", self._status())
        self._desk.refresh()
        self._ask.wait(STATE_EVERY_S)

    def _heard(self, attacker: dict[str, Any]) -> None:
        queue = attacker.get("queue", {})
        names = [name for name, attack in attacker.get("attacks", {}).items() if not attack.get("why")]
        self._desk.attacks = names or self._desk.attacks
        if self._config.only_shown and self._desk.shown in names:
            self._select(attacker["attacks"])
        # Numbers that went back: the process is another one, and none of our questions met it while it was away.
        if attacker.get("reconstructions", 0) < self._reconstruction:
            self._attacker_down()
        up = self.ports["attacker"].up and not queue.get("paused") and not attacker.get("encrypted_bytes")
        self._desk.listening(bool(up))

    def _select(self, attacks: dict[str, Any]) -> None:
        """Also after a restart, when it runs all of them again."""
        wanted = {name for name in attacks if name == self._desk.shown or name in self._desk.floors}
        if wanted != {name for name, attack in attacks.items() if attack["selected"]}:
            with suppress(PortDown):
                self.ports["attacker"].settings(attacks=sorted(wanted))

    def _cut(self, edge: dict[str, Any]) -> None:
        split = edge.get("split")
        if split is not None and split != self._config.split:
            self._config = self._config.model_copy(update={"split": split})
            # Where the edge opened a new session itself, its frames are counted on.
            self._frame = self._sample = int(edge.get("first_frame", 0)) - 1
            self._desk.restart(split)

    def _status(self) -> dict[str, Any]:
        now = time.monotonic()
        edge, attacker, link = (self._states.get(name, {}) for name in ("edge", "attacker", "link"))
        return {
            "processes": {
                name: {"up": port.up, "for_s": round(now - port.since, 1), "known": name in self._states}
                for name, port in self.ports.items()
            }
            | self._parts(),
            "paused": edge.get("paused", False),
            "rate_hz": edge.get("rate_hz"),
            "next_frame": edge.get("next_frame"),
            "silent_s": round(now - self._last_frame, 1),
            "segment": edge.get("segment", 0),
            "defense": edge.get("defense"),
            "defenses": edge.get("defenses", []),
            "split": edge.get("split", self._config.split),
            "counts": {
                **{key: edge.get(key, 0) for key in ("sent", "answered", "failed", "dropped")},
                **{key: attacker.get(key, 0) for key in ("captured", "missed", "inverted")},
                "overtaken": attacker.get("dropped", 0),
            },
            "listener": {
                "paused": attacker.get("queue", {}).get("paused", False),
                "depth": attacker.get("queue", {}).get("depth", 0),
                "lag_ms": attacker.get("lag_ms"),
                "why": attacker.get("why"),
                "encrypted_bytes": attacker.get("encrypted_bytes", 0),
            },
            "attacks": self._desk.attacks,
            "shown": self._desk.shown,
            "link": link.get("settings"),
            "link_bytes": link.get("bytes"),
            "knowledge": attacker.get("knowledge"),
            "trouble": self._desk.trouble,
            "opening": edge.get("opening"),
            "refused": edge.get("trouble"),
            "pages": self._hub.clients,
        }

    def _parts(self) -> dict[str, Any]:
        """What the processes themselves depend on: any entry of a state that says whether it is ``up``."""
        return {
            key: {"up": value["up"], "for_s": value.get("since_s", 0.0), "known": True, "why": value.get("why")}
            for name, state in self._states.items()
            if self.ports[name].up
            for key, value in state.items()
            if isinstance(value, dict) and isinstance(value.get("up"), bool)
        }

    def _trouble(self, line: str) -> None:
        self._desk.trouble = line


def _sample(data: bytes) -> tuple[int, Sample]:
    """Frame and sample as :meth:`edge.ring.Taken.packed` packs them."""
    found, meta = arrays.unpack(data)
    inputs = {key: value for key, value in found.items() if "." not in key}
    truth = {key.removeprefix("truth."): value for key, value in found.items() if key.startswith("truth.")}
    rest = {key: value for key, value in meta.items() if key not in ("frame", "name")}
    return int(str(meta["frame"])), Sample(str(meta["name"]), inputs, truth, rest)
