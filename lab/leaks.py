"""What leaks beside the wire: training views of a scene, and the edge's weights, as files that an attack is granted."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from lab.runfolder import write_whole
from victims.radiance.victim import scene
from wire.errors import InputError
from wire.payload import Meta
from wire.seeds import generator

if TYPE_CHECKING:
    from lab.stream import StreamSettings


@dataclass(frozen=True)
class Off:
    """How far the poses of a leak are off: turned by ``degrees``, and shifted, in the unit of what travels."""

    degrees: float = 0.0
    shift: float = 0.0


EXACT: Final = Off()


def write_leak(path: Path, source: str, settings: Mapping[str, Meta], count: int, off: Off = EXACT) -> list[str]:
    """Write ``count`` training views of a scene, evenly spaced, and return their names.

    The file (npz) holds ``images`` uint8 (N, H, W, 3), ``poses`` float32 (N, 3, 4) in the unit of what travels, and
    ``focal``, ``centre`` float64 (2,) in pixels. The pose of a training view was sent often, and the view is never
    scored. InputError where the scene has fewer, or cameras of several kinds.
    """
    found = scene(source, settings)
    there = found.training
    if not 0 < count <= len(there):
        raise InputError(f"{count} leaked pictures of {found.name}; accepted: 1 to {len(there)}, which it trains with")
    chosen = [there[(2 * number + 1) * len(there) // (2 * count)] for number in range(count)]
    kinds = {(p.camera.size, p.camera.focal, p.camera.centre) for p in chosen}
    if len(kinds) > 1:
        raise InputError(f"the leaked pictures of {found.name} have {len(kinds)} kinds of camera; accepted: one")
    camera = chosen[0].camera
    seed = settings.get("seed", 0)
    rng = generator(seed if isinstance(seed, int) else 0, "leak")
    poses = [disturbed(picture.camera.moved(found.middle, found.half).pose, off, rng) for picture in chosen]
    held = io.BytesIO()
    np.savez(
        held,
        images=np.stack([picture.image for picture in chosen]),
        poses=np.stack(poses).astype(np.float32),
        focal=np.array(camera.focal, np.float64),
        centre=np.array(camera.centre, np.float64),
    )
    write_whole(path, held.getvalue())
    return [picture.name for picture in chosen]


def with_the_edges_weights(settings: StreamSettings, folder: Path) -> StreamSettings:
    """Grant the edge's folder of checkpoints to attacks that are set to have the published code's mask and were given
    no file ``edge``, and say so on the knowledge card. folder: the run's."""
    checkpoints = folder / "edge" / "checkpoints"
    attacks = [
        replace(attack, files={"edge": checkpoints, **attack.files})
        if attack.settings.get("published_mask") is True
        else attack
        for attack in settings.attacks
    ]
    told = [attack.row for attack, before in zip(attacks, settings.attacks, strict=True) if attack is not before]
    if not told:
        return settings
    checkpoints.mkdir(parents=True, exist_ok=True)  # a listener may be granted only what is there
    leaks = (*settings.knowledge.leaks, f"the edge's own weights, by its newest checkpoint ({', '.join(told)})")
    return replace(settings, attacks=attacks, knowledge=replace(settings.knowledge, leaks=leaks))


def disturbed(pose: NDArray[np.float64], off: Off, rng: np.random.Generator) -> NDArray[np.float64]:
    """A pose (3, 4) off by exactly so much, in directions that ``rng`` draws."""
    axis, way = (vector / np.linalg.norm(vector) for vector in rng.standard_normal((2, 3)))
    turned = Rotation.from_rotvec(axis * np.deg2rad(off.degrees)).as_matrix() @ pose[:, :3]
    return np.column_stack([turned, pose[:, 3] + off.shift * way])
