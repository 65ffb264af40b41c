"""``eavesplit bench attack``: what an inversion costs beside the network that it inverts.

On the same frames and the same device, in one process: the victim's head alone, head and tail, and the inversion of
what the head sent (the decoded payload; capture, decoding and waiting are stage times of a run, not of this). Head and
inversion each run twice, for the null comparisons. Sites that the attack generates are counted at every level.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from attacker.attacks.base import CapturedFrame, CapturedPart, Grants, Inverter, SessionInfo
from attacker.registry import attack
from lab.bench import Bench, Comparison, Ratio, check_rounds, rounds_of
from lab.studies.lidar import DEPTHS
from victims.base import Cut, Head, Progress, Sample, weights_folder
from victims.registry import victim
from wire.errors import InputError
from wire.payload import Meta, Payload

VICTIM, ATTACK = "second", "concretizer"
FRAMES = 3
"""Deep inversions take seconds each, five times a round."""

SEED_OF_STREAM = 0

HEAD, HEAD_AGAIN, WHOLE = "head", "head again", "head and tail"
INVERT, INVERT_AGAIN = "inversion", "inversion again"


def bench_attack(
    rounds: int,
    progress: Progress,
    *,
    splits: Sequence[str] = (),
    frames: int = FRAMES,
    weights: Path | None = None,
    victim_weights: str = "shipped",
    preset: str = "street",
) -> Bench:
    """Measure at every depth whose inverter is in ``weights`` (default: the shipped ones), or at ``splits``.

    victim_weights: ``shipped``, ``random`` or a path. InputError when there is no inverter to measure.
    """
    check_rounds(rounds)
    folder = weights or weights_folder()
    found = {split: folder / f"{ATTACK}-{split}.safetensors" for split in splits or DEPTHS}
    present = {split: path for split, path in found.items() if path.is_file()}
    if not present or (splits and len(present) < len(found)):
        absent = [split for split in found if split not in present]
        raise InputError(
            f"no weights of {ATTACK} for {', '.join(absent)} in {folder.name}/; train them with "
            f"`eavesplit train {ATTACK} --split {absent[0]}`"
        )
    settings: dict[str, Meta] = {"preset": preset, "weights": victim_weights, "view": "camera", "frames_per_street": 1}
    samples = list(islice(victim(VICTIM).samples("procedural", {**settings, "seed": SEED_OF_STREAM}), frames))
    comparisons: list[Comparison] = []
    facts: list[tuple[str, str]] = []
    details: dict[str, Any] = {"frames": [sample.name for sample in samples], "preset": preset, "device": "cpu"}
    for step, (split, path) in enumerate(present.items()):

        def on_round(done: float, total: float, note: str = "", step: int = step) -> None:
            progress(step + done / total, len(present), note)

        depth = Depth(victim(VICTIM).cut(split, settings), samples, path)
        measured = rounds_of(depth.contenders(), rounds, on_round, split)
        comparisons += _compared(split, measured)
        facts += _facts(split, measured, depth)
        details[split] = {"rounds": measured, "sites": depth.sites}
    return Bench("attack", comparisons, facts, (), details)


class Depth:
    """One split point: the victim's halves, the attack's inverter, and the frames that the head sends."""

    def __init__(self, cut: Cut, samples: Sequence[Sample], inverter: Path) -> None:
        self._head, self._tail, self._samples = cut.head(), cut.tail(), samples
        session = SessionInfo("bench", cut.victim, cut.split, cut.weights_sha256.hex(), ())
        self._inverter: Inverter = attack(ATTACK).open(session, Grants({"inverter": inverter}))
        self._frames = [_captured(number, sent(self._head, sample)) for number, sample in enumerate(samples)]
        self.sites: dict[str, list[int]] = {}

    def contenders(self) -> Mapping[str, Callable[[], Mapping[str, float]]]:
        """Each gives milliseconds by frame, ``0`` to ``n - 1``."""
        return {
            HEAD: partial(self._timed, self._run_head),
            HEAD_AGAIN: partial(self._timed, self._run_head),
            WHOLE: partial(self._timed, self._run_whole),
            INVERT: partial(self._timed, self._invert),
            INVERT_AGAIN: partial(self._timed, self._invert),
        }

    def _timed(self, run: Callable[[int], None]) -> Mapping[str, float]:
        times = {}
        for number in range(len(self._samples)):
            start = time.perf_counter()
            run(number)
            times[str(number)] = 1000 * (time.perf_counter() - start)
        return times

    def _run_head(self, number: int) -> None:
        sent(self._head, self._samples[number])

    def _run_whole(self, number: int) -> None:
        exchange = self._head.exchange(self._samples[number])
        turn = next(exchange)
        try:
            exchange.send(iter([self._tail.reply(part) for part in turn]))
        except StopIteration:
            return
        raise InputError(f"{VICTIM}: an inference exchange has one turn")

    def _invert(self, number: int) -> None:
        made = self._inverter.observe([self._frames[number]])[0]
        for name, value in made.meta.items():
            if name in ("sites", "voxels") or name.startswith(("generated_", "kept_")):
                counts = self.sites.setdefault(name, [0] * len(self._frames))
                counts[number] = int(value)  # type: ignore[arg-type]


def sent(head: Head, sample: Sample) -> Sequence[Payload]:
    """What the head sends of a sample, without anybody to answer."""
    exchange = head.exchange(sample)
    turn = next(exchange)
    exchange.close()
    return turn


def _captured(number: int, parts: Sequence[Payload]) -> CapturedFrame:
    heard = [CapturedPart("up", 0, part, len(parts), payload, 0, 0) for part, payload in enumerate(parts)]
    return CapturedFrame("bench", 0, number, heard)


Rounds = Mapping[str, Sequence[Mapping[str, float]]]


def _pairs(found: Rounds, ours: str, theirs: str) -> Ratio:
    """Ratios on the same frame in the same round."""
    return Ratio.of(_times(found, ours), _times(found, theirs))


def _times(found: Rounds, name: str) -> list[float]:
    return [ms for row in found[name] for ms in row.values()]


def _compared(split: str, found: Rounds) -> list[Comparison]:
    null = {HEAD: _pairs(found, HEAD_AGAIN, HEAD), INVERT: _pairs(found, INVERT_AGAIN, INVERT)}
    # The wider of the two: a ratio of an inversion to a head carries the noise of both.
    wider = max(null.values(), key=lambda r: r.spread)
    return [
        Comparison(split, INVERT, HEAD, "time on the same frame", _pairs(found, INVERT, HEAD), wider),
        Comparison(split, INVERT, WHOLE, "time on the same frame", _pairs(found, INVERT, WHOLE), wider),
    ]


def _facts(split: str, found: Rounds, depth: Depth) -> list[tuple[str, str]]:
    facts = [(f"{split}, {name} (ms a frame)", _spread(_times(found, name), ".1f")) for name in (HEAD, WHOLE, INVERT)]
    facts += [(f"{split}, {name} (sites a frame)", _spread(counts, ",.0f")) for name, counts in depth.sites.items()]
    return facts


def _spread(values: Sequence[float], form: str) -> str:
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"
