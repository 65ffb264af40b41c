"""Kinds of scene a street may be: from a residential road to a highway, a park or a parking yard."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Style:
    """What a kind of scene is made of.

    Widths and setback (from the pavement's edge) are (least, most) in metres; parked is the chance of a car per bay,
    gap the chance of an opening per block; lining weighs what closes the view beside the road; clutter, walkers and
    cyclists are mean counts (clutter per block); slope is the spread of the banks' slopes; paved: land beyond the
    pavement is paved.
    """

    half_road: tuple[float, float]
    pavement: tuple[float, float]
    parked: float
    gap: float
    lining: dict[str, float]
    setback: tuple[float, float]
    clutter: float
    walkers: int
    cyclists: int
    cars: int
    slope: float
    paved: bool


STYLES: dict[str, Style] = {
    "residential": Style(
        half_road=(4.4, 6.4),
        pavement=(1.2, 2.5),
        parked=0.5,
        gap=0.12,
        lining={"house": 4, "garden": 5, "hedge": 3, "fence": 2, "wall": 1, "overgrowth": 4},
        setback=(0.0, 3.0),
        clutter=5,
        walkers=5,
        cyclists=2,
        cars=3,
        slope=0.08,
        paved=False,
    ),
    "city": Style(
        half_road=(5.0, 8.0),
        pavement=(2.0, 4.0),
        parked=0.55,
        gap=0.16,
        lining={"terrace": 6, "house": 2, "garden": 1},
        setback=(0.0, 1.0),
        clutter=5,
        walkers=10,
        cyclists=4,
        cars=6,
        slope=0.02,
        paved=True,
    ),
    "country": Style(
        half_road=(2.8, 4.0),
        pavement=(0.3, 0.8),
        parked=0.03,
        gap=0.15,
        lining={"woods": 6, "field": 3, "hedge": 2, "garden": 1, "fence": 1, "overgrowth": 6},
        setback=(0.5, 5.0),
        clutter=4,
        walkers=1,
        cyclists=2,
        cars=2,
        slope=0.25,
        paved=False,
    ),
    "highway": Style(
        half_road=(7.0, 11.0),
        pavement=(0.5, 2.0),
        parked=0.0,
        gap=0.1,
        lining={"rail": 4, "woods": 5, "field": 2, "noise": 1, "overgrowth": 5},
        setback=(0.5, 4.0),
        clutter=1,
        walkers=0,
        cyclists=0,
        cars=8,
        slope=0.2,
        paved=False,
    ),
    "junction": Style(
        half_road=(5.5, 9.0),
        pavement=(2.0, 4.0),
        parked=0.3,
        gap=0.4,
        lining={"terrace": 4, "house": 2, "garden": 3, "field": 1, "overgrowth": 2},
        setback=(0.0, 4.0),
        clutter=5,
        walkers=8,
        cyclists=4,
        cars=6,
        slope=0.04,
        paved=True,
    ),
    "park": Style(
        half_road=(2.0, 4.0),
        pavement=(0.5, 2.0),
        parked=0.05,
        gap=0.15,
        lining={"woods": 4, "field": 3, "garden": 3, "hedge": 2, "fence": 1, "overgrowth": 4},
        setback=(0.0, 6.0),
        clutter=6,
        walkers=12,
        cyclists=5,
        cars=0,
        slope=0.12,
        paved=False,
    ),
    "yard": Style(
        half_road=(5.0, 9.0),
        pavement=(0.5, 2.0),
        parked=0.6,
        gap=0.25,
        lining={"fence": 3, "wall": 2, "house": 2, "lot": 4, "field": 1, "overgrowth": 2},
        setback=(1.0, 7.0),
        clutter=5,
        walkers=3,
        cyclists=1,
        cars=3,
        slope=0.03,
        paved=True,
    ),
}
WEIGHTS: tuple[float, ...] = (0.3, 0.2, 0.15, 0.08, 0.12, 0.07, 0.08)
"""How often each style is drawn, in the order of STYLES."""
