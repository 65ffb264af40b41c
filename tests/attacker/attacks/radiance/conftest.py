"""Trainings run in this process, as a listener captures them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest
from safetensors.torch import save_file

from attacker.attacks.base import CapturedFrame, Grants, SessionInfo
from attacker.attacks.radiance.heard import HeardStep, heard
from tests.attacker.attacks.radiance.capturing import SESSION, captured
from victims.base import Sample
from victims.radiance.batch import rendering_sample, training_samples
from victims.radiance.head import RadianceHead
from victims.radiance.networks import embedding_width, parts
from victims.radiance.room import room
from victims.radiance.scene import Scene
from victims.radiance.settings import Training
from victims.radiance.tail import RadianceTail
from wire.payload import Meta

TINY = Training(
    steps=12, rays=40, samples=8, levels=3, rows_log2=9, base=4, finest=32, chunk_points=128, seed=3, edge_seed=5
)
"""Three parts a step: 16, 16 and 8 rays."""

PUBLIC: dict[str, Meta] = {
    "steps": 12, "rays": 40, "samples": 8, "levels": 3, "rows_log2": 9, "base": 4, "finest": 32, "chunk_points": 128,
    "victim_seed": 3, "views": 4,
}  # fmt: skip
"""What a listener is told of it."""


@dataclass
class Heard:
    """A training as it was captured: its frames (a picture after every ``every`` steps), and both ends as they are now.

    snapshots: a folder with the cloud's weights at each picture.
    """

    settings: Training
    split: str
    scene: Scene
    head: RadianceHead
    tail: RadianceTail
    frames: Sequence[CapturedFrame]
    snapshots: Path

    @property
    def session(self) -> SessionInfo:
        return SessionInfo(SESSION, "splitnerf", self.split, "", ("rays", "gradients"))

    @property
    def steps(self) -> list[HeardStep]:
        """The training frames alone, read."""
        found = [heard(frame) for frame in self.frames]
        return [step for step in found if isinstance(step, HeardStep)]

    def grants(self, work: Path | None = None, files: dict[str, Path] | None = None, **settings: Meta) -> Grants:
        def snapshot(session: str, step: int) -> Path | None:
            path = self.snapshots / f"{step}.safetensors"
            return path if session == SESSION and path.exists() else None

        return Grants(files or {}, settings={**PUBLIC, "seed": 1, **settings}, snapshot=snapshot, work=work)


Train = Callable[..., Heard]


@pytest.fixture(scope="session")
def train(tmp_path_factory: pytest.TempPathFactory) -> Train:
    """``train(split, seed, settings, every, side, views, negative)``: a training of a tiny room of that seed (negative:
    on its photographs' negatives), run once; read only."""

    @cache
    def run(
        split: str = "mid",
        seed: int = 0,
        settings: Training = TINY,
        every: int = 6,
        side: int = 16,
        views: int = 5,
        negative: bool = False,
    ) -> Heard:
        folder = tmp_path_factory.mktemp("snapshots")
        scene = room(seed, side, views)
        if negative:
            scene = replace(scene, pictures=[replace(p, image=255 - p.image) for p in scene.pictures])
        cloud, edge = parts(split, settings)
        head = RadianceHead(edge, settings, embedding_width(split, settings))
        tail = RadianceTail(cloud, settings)
        frames: list[CapturedFrame] = []
        for sample in samples(scene, settings, every):
            if "colours" not in sample.arrays:
                save_file(tail.part.state_dict(), folder / f"{sample.meta['step']}.safetensors")
            frames.append(captured(head, tail, sample, len(frames)))
        return Heard(settings, split, scene, head, tail, frames, folder)

    return run


@pytest.fixture(scope="session")
def training(train: Train) -> Heard:
    """One of them; read only."""
    return train()


def samples(scene: Scene, settings: Training, every: int) -> Iterator[Sample]:
    """The steps, and after each ``every``-th each held-out view as a picture."""
    for step, sample in enumerate(training_samples(scene, settings), start=1):
        yield sample
        if step % every == 0:
            for view, picture in enumerate(scene.testing):
                asked = rendering_sample(scene, picture.camera, picture.name)
                yield replace(asked, meta={**asked.meta, "step": step, "view": view})
