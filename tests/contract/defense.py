"""What every defense must hold to, whatever it does: for the registry's own and for plug-ins.

from tests.contract.defense import check_defense
check_defense(lambda: MyDefense({"strength": 1.0}, None), payloads)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from defenses.base import Calibration, Defense, Mechanism, Protected, Turn
from victims.base import Sample
from wire.payload import Payload
from wire.seeds import generator


def turn(frame: int = 0, seed: int = 7) -> Turn:
    """The turn of one inference frame, with the stream that the edge would hand it."""
    return Turn(frame=frame, step=0, steps=None, segment=0, rng=generator(seed, "defense", 0, frame))


def tensor_bytes(payload: Payload) -> dict[str, bytes]:
    """Each tensor as it would leave: its bytes in C order."""
    return {
        name: tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        for name, tensor in payload.tensors.items()
    }


def fingerprint(payload: Payload) -> tuple[object, ...]:
    """Everything that leaves: role, layout, meta, and each tensor's name, type, shape and bytes, in order."""
    described = [(name, t.dtype, tuple(t.shape)) for name, t in payload.tensors.items()]
    return payload.role, payload.layout, dict(payload.meta), described, tensor_bytes(payload)


def check_defense(factory: Callable[[], Defense], payloads: Sequence[Payload]) -> None:
    """Check a defense on clean payloads of the roles and layouts it serves; raises AssertionError naming what broke.

    ``factory`` builds a fresh, uncalibrated defense. Other roles pass as they are; inputs are never changed; role,
    layout, meta, tensor names, dtypes, ranks and trailing shapes stay; equal streams give equal bytes, after a fresh
    build too; the record and the mechanism are what the contract says. Protecting an empty turn gives an empty turn.
    """
    defense = factory()
    assert isinstance(defense.name, str)
    assert isinstance(defense.roles, frozenset)
    before = [fingerprint(p) for p in payloads]
    calibration = defense.calibrate(payloads)
    assert isinstance(calibration, Calibration)
    assert calibration.rms >= 0

    passing = [
        Payload(role, "dense", {"t": torch.arange(6.0)}) for role in ("result", "rays") if role not in defense.roles
    ]
    protected = defense.protect([*payloads, *passing], turn())
    assert isinstance(protected, Protected)
    assert len(protected.parts) == len(payloads) + len(passing)
    assert [fingerprint(p) for p in payloads] == before, "calibrate or protect changed its input"
    for came, left in zip([*payloads, *passing], protected.parts, strict=True):
        _keeps_its_form(came, left)
        if came.role not in defense.roles:
            assert fingerprint(left) == fingerprint(came), f"role {came.role} is not among {sorted(defense.roles)}"
    for key, value in protected.record.items():
        assert isinstance(key, str)
        assert isinstance(value, bool | int | float | str | tuple), f"record {key} is no Meta"

    again = factory()
    again.calibrate(payloads)
    repeat = again.protect([*payloads, *passing], turn())
    assert [fingerprint(p) for p in repeat.parts] == [fingerprint(p) for p in protected.parts], "not set by its stream"
    assert repeat.record == protected.record
    assert list(defense.protect([], turn()).parts) == []

    sample = Sample("s", {"points": np.arange(8.0, dtype=np.float32).reshape(2, 4)})
    digest = sample.digest()
    assert isinstance(defense.prepare(sample, turn()), Sample)
    assert sample.digest() == digest, "prepare changed its input"
    promised = defense.mechanism()
    assert promised is None or isinstance(promised, Mechanism)
    if promised is not None:
        assert promised.sigma > 0
        assert promised.sensitivity > 0


def _keeps_its_form(came: Payload, left: Payload) -> None:
    assert (left.role, left.layout, dict(left.meta)) == (came.role, came.layout, dict(came.meta))
    assert list(left.tensors) == list(came.tensors)
    for name, tensor in came.tensors.items():
        assert left.tensors[name].dtype == tensor.dtype, name
        assert left.tensors[name].dim() == tensor.dim(), name
        sites_may_grow = came.layout == "sparse_voxels"
        kept = slice(1, None) if sites_may_grow else slice(None)
        assert left.tensors[name].shape[kept] == tensor.shape[kept], name
