"""Which input sites a strided sparse convolution's active outputs allow: the geometry that leaks without learning.

A strided sparse convolution is active exactly where its window holds an active input. An active output therefore says
"at least one of my inputs is active", and a silent one "none of mine is". Two rules follow for whoever reads the
outputs' coordinates:

*prune*: an input site can be active only if **every** output whose window covers it is active;
*cover*: every active output has **at least one** active input.

Coordinates here are int64 (N, 3), columns z, y, x, without a batch column, in canonical (z, y, x) order.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Zyx = tuple[int, int, int]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Strided:
    """Geometry of one strided layer: kernel, stride and padding along z, y, x."""

    kernel: Zyx
    stride: Zyx
    padding: Zyx

    def __post_init__(self) -> None:
        for k, s in zip(self.kernel, self.stride, strict=True):
            if not s <= k <= 2 * s:
                raise ValueError(f"kernel {self.kernel}, stride {self.stride}: accepted: stride <= kernel <= 2 stride")

    @property
    def taps(self) -> int:
        """Positions of the kernel; tap (z, y, x) is number (z * ky + y) * kx + x."""
        kz, ky, kx = self.kernel
        return kz * ky * kx

    def shrink(self, shape: Zyx) -> Zyx:
        """Shape of the output grid over an input grid of ``shape``."""
        z, y, x = (
            (n + 2 * p - k) // s + 1 for n, k, s, p in zip(shape, self.kernel, self.stride, self.padding, strict=True)
        )
        return z, y, x


DOWNSAMPLINGS: tuple[Strided, ...] = (
    Strided((3, 3, 3), (2, 2, 2), (1, 1, 1)),
    Strided((3, 3, 3), (2, 2, 2), (1, 1, 1)),
    Strided((3, 3, 3), (2, 2, 2), (0, 1, 1)),
    Strided((3, 1, 1), (2, 1, 1), (0, 0, 0)),
)
"""The four strided layers of VoxelBackBone8x (conv2.0, conv3.0, conv4.0, conv_out)."""


def shapes(voxels: Zyx, depth: int) -> list[Zyx]:
    """Grid shapes of levels 0 (``voxels``) to ``depth``."""
    out = [voxels]
    for layer in DOWNSAMPLINGS[:depth]:
        out.append(layer.shrink(out[-1]))
    return out


def keys(coords: Ints, shape: Zyx) -> Ints:
    """Rank of each site in the grid, in canonical order: int64 (N,)."""
    _, y, x = shape
    out: Ints = (coords[:, 0] * y + coords[:, 1]) * x + coords[:, 2]
    return out


def unkey(flat: Ints, shape: Zyx) -> Ints:
    """Inverse of :func:`keys`: int64 (N, 3)."""
    return np.stack(np.unravel_index(flat, shape), axis=1).astype(np.int64)


def find(sorted_keys: Ints, wanted: Ints) -> Ints:
    """Index of each wanted key in ``sorted_keys``, or ``len(sorted_keys)`` where it is absent."""
    if len(sorted_keys) == 0:
        return np.zeros(len(wanted), np.int64)
    at = np.searchsorted(sorted_keys, wanted)
    at[at == len(sorted_keys)] = 0
    return np.where(sorted_keys[at] == wanted, at, len(sorted_keys))


@dataclass(frozen=True)
class Rulebook:
    """Which input row meets which output row under which kernel tap.

    pairs: (tap, source rows, target rows), int64; a target occurs at most once within a tap.
    """

    pairs: tuple[tuple[int, Ints, Ints], ...]
    sources: int
    targets: int


@dataclass(frozen=True)
class Candidates:
    """Input sites that may be active, and the outputs that cover them.

    coords: (M, 3) in canonical order. shape: the input grid. rules: pairs from outputs (sources, "parents") to
    candidates (targets, "children"), by kernel tap: the indices of the transposed convolution onto the candidates.
    """

    coords: Ints
    shape: Zyx
    rules: Rulebook

    def __len__(self) -> int:
        return len(self.coords)


def candidates(parents: Ints, layer: Strided, shape: Zyx, *, prune: bool = True) -> Candidates:
    """The input sites in a grid of ``shape`` that lie in the window of an active output.

    parents: active outputs, (N, 3) in canonical order. prune: keep those only of which every covering output is
    active. Sites are enumerated from their lowest covering output: along each axis a site has one or two of them,
    so that three neighbour searches among the parents answer for all sites, and no union is ever built.
    """
    if not prune:
        return _union(parents, layer, shape)
    count = len(parents)
    sites: list[Ints] = []
    links: list[tuple[int, Ints, int]] = []  # tap, parent row of each site (count: silent), index into sites
    for found, covers in _consistent(parents, layer, shape):
        links += [(tap, row, len(sites)) for tap, row in covers]
        sites.append(found)
    if not sites:
        return Candidates(np.zeros((0, 3), np.int64), shape, Rulebook((), count, 0))

    coords = np.concatenate(sites)
    order = np.argsort(keys(coords, shape), kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    start = np.cumsum([0] + [len(s) for s in sites])
    by_tap: dict[int, list[tuple[Ints, Ints]]] = {}
    for tap, row, index in links:
        real = row < count
        if real.any():
            by_tap.setdefault(tap, []).append((row[real], rank[start[index] : start[index + 1]][real]))
    pairs = tuple(
        (tap, np.concatenate([p for p, _ in by_tap[tap]]), np.concatenate([c for _, c in by_tap[tap]]))
        for tap in sorted(by_tap)
    )
    return Candidates(coords[order], shape, Rulebook(pairs, count, len(coords)))


def consistent(parents: Ints, layer: Strided, shape: Zyx) -> Ints:
    """Keys of the pruned candidates, in no particular order and without their rulebook: for large counts."""
    found = [keys(sites, shape) for sites, _ in _consistent(parents, layer, shape)]
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def _consistent(parents: Ints, layer: Strided, shape: Zyx) -> Iterator[tuple[Ints, list[tuple[int, Ints]]]]:
    """Pruned candidates by parity class: sites (n, 3), and (tap, row of the parent or ``len(parents)``) per cover."""
    outer, count = layer.shrink(shape), len(parents)
    key = keys(parents, outer)
    # neighbour[axis][i]: row of the output one further along that axis; `count` stands for "silent".
    neighbour = []
    for axis in range(3):
        step = np.zeros(3, np.int64)
        step[axis] = 1
        inside = parents[:, axis] + 1 < outer[axis]
        found = np.where(inside, find(key, keys(parents + step, outer)), count)
        neighbour.append(np.append(found, count))
    choices = [_choices(parents[:, a], layer, shape, outer, a) for a in range(3)]
    for combination in itertools.product(*choices):
        anchor = np.flatnonzero(combination[0].here & combination[1].here & combination[2].here)
        kept = np.ones(len(anchor), bool)
        covers: list[tuple[int, Ints]] = []
        for beyond in itertools.product((0, 1), repeat=3):
            if any(b and not c.second for b, c in zip(beyond, combination, strict=True)):
                continue
            row, needed, tap = anchor, np.ones(len(anchor), bool), 0
            for axis, (b, c) in enumerate(zip(beyond, combination, strict=True)):
                tap = tap * layer.kernel[axis] + c.tap - b * layer.stride[axis]
                if b:
                    row = neighbour[axis][row]
                    needed &= c.more[anchor]
            kept &= (row < count) | ~needed
            covers.append((tap, row))
        if kept.any():
            sites = np.stack([c.site[anchor[kept]] for c in combination], axis=1)
            yield sites, [(tap, row[kept]) for tap, row in covers]


@dataclass(frozen=True)
class _Choice:
    """One way to reach sites along one axis from their lowest covering output (arrays over the outputs)."""

    tap: int
    site: Ints
    here: NDArray[np.bool_]  # the site exists and this output is its lowest cover
    second: bool  # the tap leaves room for a second cover
    more: NDArray[np.bool_]  # the second cover lies in the grid


def _choices(o: Ints, layer: Strided, shape: Zyx, outer: Zyx, axis: int) -> list[_Choice]:
    k, s, p = layer.kernel[axis], layer.stride[axis], layer.padding[axis]
    out = []
    for tap in range(k):
        site = o * s - p + tap
        here = (site >= 0) & (site < shape[axis])
        if tap + s < k:
            here &= o == 0  # otherwise the output before this one covers the site too
        out.append(_Choice(tap, site, here, tap >= s, o + 1 < outer[axis]))
    return out


def _union(parents: Ints, layer: Strided, shape: Zyx) -> Candidates:
    """All sites that any parent's window covers: what a transposed convolution generates."""
    taps = list(itertools.product(*(range(k) for k in layer.kernel)))
    stride, padding = np.asarray(layer.stride), np.asarray(layer.padding)
    found = []
    for tap in taps:
        site = parents * stride - padding + np.asarray(tap)
        inside = np.flatnonzero(((site >= 0) & (site < np.asarray(shape))).all(axis=1))
        found.append((inside, keys(site[inside], shape)))
    flat, inverse = np.unique(np.concatenate([f for _, f in found]), return_inverse=True)
    ends = np.cumsum([len(f) for _, f in found])[:-1]
    pairs = tuple(
        (tap, rows, targets.astype(np.int64))
        for tap, ((rows, _), targets) in enumerate(zip(found, np.split(inverse, ends), strict=True))
        if len(rows)
    )
    return Candidates(unkey(flat, shape), shape, Rulebook(pairs, len(parents), len(flat)))


def cover(rules: Rulebook, score: NDArray[np.float32], chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """``chosen`` with the likeliest child added for every parent that has none.

    score, chosen: (M,) over the candidates (targets of ``rules``). Ties go to the lowest index. Parents without any
    candidate stay without.
    """
    if not rules.pairs:
        return chosen
    parent = np.concatenate([p for _, p, _ in rules.pairs])
    child = np.concatenate([c for _, _, c in rules.pairs])
    explained = np.zeros(rules.sources, bool)
    explained[parent[chosen[child]]] = True
    open_pairs = ~explained[parent]
    parent, child = parent[open_pairs], child[open_pairs]
    best = np.full(rules.sources, -np.inf, np.float32)
    np.maximum.at(best, parent, score[child])
    winning = score[child] == best[parent]
    first = np.full(rules.sources, len(score), np.int64)
    np.minimum.at(first, parent[winning], child[winning])
    out = chosen.copy()
    out[first[first < len(score)]] = True
    return out


def submanifold(coords: Ints, shape: Zyx) -> Rulebook:
    """Pairs of a 3x3x3 submanifold convolution over sites in canonical order."""
    count = len(coords)
    key, every = keys(coords, shape), np.arange(count)
    pairs: dict[int, tuple[Ints, Ints]] = {13: (every, every)}
    x = coords[:, 2]
    for dz, dy in ((0, 0), (0, 1), (1, -1), (1, 0), (1, 1)):
        inside = (coords[:, 0] + dz < shape[0]) & (coords[:, 1] + dy >= 0) & (coords[:, 1] + dy < shape[1])
        base = key + (dz * shape[1] + dy) * shape[2]
        start = every if dz == dy == 0 else np.searchsorted(key, base - 1)
        for dx in (-1, 0, 1):
            if dz == dy == 0 and dx < 1:
                continue
            valid = inside & (x + dx >= 0) & (x + dx < shape[2])
            # The three wanted keys are consecutive numbers, so they lie within three rows of the first.
            for ahead in range(3):
                near = np.flatnonzero(valid & (start + ahead < count))
                hit = near[key[start[near] + ahead] == base[near] + dx]
                if len(hit):
                    tap = ((dz + 1) * 3 + dy + 1) * 3 + dx + 1
                    _add(pairs, tap, start[hit] + ahead, hit)
                    _add(pairs, 26 - tap, hit, start[hit] + ahead)
    return Rulebook(tuple((tap, *pairs[tap]) for tap in sorted(pairs)), count, count)


def _add(pairs: dict[int, tuple[Ints, Ints]], tap: int, source: Ints, target: Ints) -> None:
    if tap in pairs:
        source, target = np.concatenate([pairs[tap][0], source]), np.concatenate([pairs[tap][1], target])
    pairs[tap] = (source, target)
