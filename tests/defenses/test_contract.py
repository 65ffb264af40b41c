"""Every entry of the registry keeps the contract, and the contract check catches those that do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from defenses.base import Protected, Turn
from defenses.none import NoDefense
from defenses.registry import DEFENSES, build
from tests.contract.defense import check_defense
from wire.errors import InputError
from wire.payload import Payload


@pytest.mark.parametrize("name", list(DEFENSES))
def test_sparse_payloads(name: str, make_voxels: Callable[..., Payload]) -> None:
    check_defense(lambda: build(name), [make_voxels(), make_voxels(count=0), make_voxels(count=90, batches=3, seed=1)])


@pytest.mark.parametrize("name", [name for name in DEFENSES if name != "distributed"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_dense_payloads(name: str, dtype: torch.dtype, make_dense: Callable[..., Payload]) -> None:
    check_defense(lambda: build(name), [make_dense(dtype=dtype), make_dense(shape=(3, 7), seed=1)])


def test_dense_payloads_have_no_empty_sites(make_dense: Callable[..., Payload]) -> None:
    with pytest.raises(InputError, match=r"payload layout 'dense'; accepted: sparse_voxels"):
        check_defense(lambda: build("distributed"), [make_dense()])


class _InPlace(NoDefense):
    roles = frozenset({"features"})

    def protect(self, parts: Sequence[Payload], turn: Turn) -> Protected:
        for part in parts:
            part.tensors["features"].add_(1)
        return Protected(parts)


class _OwnChance(NoDefense):
    roles = frozenset({"features"})

    def protect(self, parts: Sequence[Payload], turn: Turn) -> Protected:
        shaken = []
        for part in parts:
            tensors = {**part.tensors, "features": part.tensors["features"] + torch.rand(1)}
            shaken.append(Payload(part.role, part.layout, tensors, part.meta))
        return Protected(shaken)


class _OtherRoles(NoDefense):
    def protect(self, parts: Sequence[Payload], turn: Turn) -> Protected:
        return Protected([Payload(p.role, p.layout, {k: t * 2 for k, t in p.tensors.items()}, p.meta) for p in parts])


class _LosesMeta(NoDefense):
    def protect(self, parts: Sequence[Payload], turn: Turn) -> Protected:
        return Protected([Payload(p.role, p.layout, p.tensors) for p in parts])


@pytest.mark.parametrize("broken", [_InPlace, _OwnChance, _OtherRoles, _LosesMeta])
def test_the_check_catches_a_defense_that(broken: type[NoDefense], make_voxels: Callable[..., Payload]) -> None:
    with pytest.raises((AssertionError, KeyError)):
        check_defense(lambda: broken({}), [make_voxels()])
