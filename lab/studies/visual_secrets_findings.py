"""Section 8.1 of "Unlocking Visual Secrets": what decides how much leaks is the share of the network before the cut,
not the number of the layer; and whether a transformer resists longer than a convolutional network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch

from lab.cell import run_cell
from lab.metrics.pictures import PSNR, SSIM
from lab.plots import Point, scatter
from lab.runfolder import RunFolder
from lab.studies.base import Cell, CellResult, Settings
from lab.studies.image import FLOORS, Plan, cell, keep_apart, plan, stage_ends
from lab.studies.options import listed
from lab.studies.visual_secrets_sheets import sheets
from lab.studies.visual_secrets_whitebox import published, without
from lab.tables import Entry, Sheet, estimate
from victims.base import Progress
from victims.image.split import relative_depth
from wire.errors import InputError

VICTIMS: Final = ("cifar-resnet20", "cifar-resnet20-contrastive", "cifar-resnet56", "cifar-vit")
ATTACKS: Final = (*FLOORS, "direct", "decoder")
"""Without the diffusion attack, which costs most; ``--set attacks=...`` asks for others."""


class Findings:
    """Several networks on the same pictures, each at the ends of its stages."""

    name = "visual-secrets-findings"
    summary = "Unlocking Visual Secrets, 8.1: leak over relative depth, for residual networks and a transformer"
    source = "Unlocking Visual Secrets, Table 1 (100 pictures of ImageNet)"

    def cells(self, settings: Settings) -> Sequence[Cell]:
        """``options``: those of :data:`lab.studies.image.OPTIONS` but ``victim`` and ``weights``, ``victims``
        (``a,b``), and ``weights.VICTIM`` (a checkpoint). A victim without weights is left out, and named."""
        options = dict(settings.options)
        named = "victims" in options
        names = listed(options.pop("victims", ",".join(VICTIMS)), "victims")
        given = {k.partition(".")[2]: options.pop(k) for k in list(options) if k.startswith("weights.")}
        plans: list[Plan] = []
        absent: dict[str, str] = {}
        for name in names:
            own = {**options, "victim": name} | ({"weights": given[name]} if name in given else {})
            try:
                plans.append(plan(replace(settings, options=own)))
            except InputError as error:
                if named or name in given:
                    raise
                absent[name] = str(error)
        if not plans:
            raise InputError(f"{self.name}: {'; '.join(absent.values())}")
        cells = []
        for asked in plans:
            wanted = asked.wanted if "attacks" in options else [a for a in asked.wanted if a in ATTACKS]
            chosen = replace(asked, wanted=wanted, absent={**asked.absent, **absent})
            network = asked.victim.network(asked.victim_settings)
            example = torch.zeros(1, 3, *asked.victim.size)
            for split in settings.splits or stage_ends(asked.victim):
                layer = asked.victim.layers.get(split, split)
                cells.append(cell(chosen, split, depth=relative_depth(network, layer, example)))
        return cells

    def run(self, cell: Cell, work: Path, progress: Progress) -> CellResult:
        """Stream, invert when all has been heard, score, sum up."""
        keep_apart(cell)
        return run_cell(self.name, cell, RunFolder(work), progress)

    def sheets(self, results: Sequence[CellResult]) -> Sequence[Sheet]:
        """Leak over relative depth, then what every study of inversion has."""
        return [_by_depth(results), *sheets(results), *without(results)]

    def paper(self, cell: Cell) -> Mapping[str, Mapping[str, float]]:
        """Table 1's values, where it has this layer of this victim."""
        return published(cell)


def _by_depth(results: Sequence[CellResult]) -> Sheet:
    attacks = [a for a in dict.fromkeys(c.row for r in results for c in r.cell.stream.attacks) if a not in FLOORS]
    points: list[Point] = []
    sheet = Sheet(
        "Leak over relative depth",
        ["network", "split", "relative depth", "attack", f"{PSNR.title} ↑", f"{SSIM.title} ↑"],
        reads="PSNR of each attack over the share of the network before the cut, one marker a network and attack.",
        notes=[
            "Relative depth: share of the network's multiply-accumulate operations before the cut.",
            "Self-supervised networks take weights of your own: cifar-resnet20-contrastive (`train image-victim`) "
            "and clip-vit-b-32, by --set weights.VICTIM=PATH.",
        ],
    )
    for result in results:
        stream, depth = result.cell.stream, float(result.cell.columns["depth"])
        for attack in attacks:
            found = result.summary["scores"].get(attack, {})
            where = [Entry(stream.victim, kind="name"), Entry(stream.split), Entry(f"{depth:.3f}"), Entry(attack)]
            sheet.add([*where, *(estimate(found.get(metric.name), metric) for metric in (PSNR, SSIM))])
            mean = found.get(PSNR.name, {}).get("mean")
            if mean is not None:
                spread = (mean, found[PSNR.name]["low"], found[PSNR.name]["high"])
                points.append(Point(stream.split, f"{stream.victim}, {attack}", (depth, None, None), spread))
    if points:
        sheet.picture = scatter(points, "relative depth", PSNR.title, _legend(points))
    return sheet


def _legend(points: Sequence[Point]) -> str:
    names = ("circle", "square", "diamond", "triangle", "down triangle", "plus", "cross", "star")
    kinds = dict.fromkeys(point.kind for point in points)
    return "; ".join(f"{names[i % len(names)]}: {kind}" for i, kind in enumerate(kinds))


STUDY = Findings()
