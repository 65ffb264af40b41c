"""Figure 17 and section 7.5 of "Unlocking Visual Secrets": do frames of one clip, inverted together, gain by it?

White box: the temporal loss ties the latents of a clip's frames to their mean (equation 10). Black box: one network
takes a clip's features together (equation 13). Each stands beside the same attack on the same frames one by one, with
the same iterations, queries and epochs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from lab.cell import run_cell
from lab.contacts import contact
from lab.metrics.pictures import PSNR, SSIM
from lab.runfolder import RunFolder
from lab.scores import read_scores
from lab.stream import AttackChoice
from lab.studies.base import Cell, CellResult, Settings
from lab.studies.black_box import Learner, black_box_cell, learners, learning, run_black_box
from lab.studies.image import Plan, cell, choice, keep_apart, plan, stage_ends
from lab.studies.image_files import real_data
from lab.studies.image_tuning import VARIANTS
from lab.studies.options import listed, whole
from lab.studies.visual_secrets_sheets import ZERO, course_sheets
from lab.studies.visual_secrets_whitebox import without
from lab.summary import compare
from lab.tables import Entry, Sheet, estimate
from lab.telling import table
from victims.base import Progress
from victims.image.clips import videos
from wire.errors import InputError

KINDS: Final = {"real": "video", "panned": "images/photos"}
"""Where clips come from -> its folder in ``EAVESPLIT_DATA``."""

LENGTHS: Final = (2, 4, 8, 16)
"""Of a clip, in frames; 16 are inverted at once."""

CLIPS: Final = {"quick": 8, "cpu": 12, "paper": 12}
TEMPORAL: Final = {"quick": (0.1,), "cpu": (0.01, 0.1, 1.0), "paper": (5.0,)}
ITERATIONS: Final = {"quick": {"decoder": 250, "diffusion": 60}, "cpu": {"decoder": 1500, "diffusion": 200}}
QUERIES: Final = {"quick": 1024, "cpu": 4096, "paper": 4096}
EPOCHS: Final = {"quick": 16, "cpu": 40, "paper": 96}

TIED: Final = ("decoder", "diffusion")
LEARNED: Final = ("inversion-direct", "inversion-decoder")

PAPER: Final = (
    ("white box", "ResNet-50 L36", "diffusion with the temporal loss less without", 7.3, 0.39),
    ("black box", "ResNet-50 L36", "inversion-diffusion with the 1x1 mixing layer less without", 4.0, 0.09),
)


class Video:
    """A white-box and a black-box cell for each kind of clips."""

    name = "visual-secrets-video"
    summary = "Unlocking Visual Secrets, Figure 17: frames of a clip inverted together against one by one"
    source = "Unlocking Visual Secrets, section 7.5 (10 clips of Tanks and Temples, 4 frames each, 0.5 s apart)"
    takes_victim = True

    def cells(self, settings: Settings) -> Sequence[Cell]:
        """``options``: those of :data:`lab.studies.image.OPTIONS`, ``kinds`` (``real,panned``), ``length`` (of a
        clip), ``temporal`` (weights, ``0.01,0.1``), ``queries`` and ``epochs`` (``queries=0``: no black box)."""
        options = settings.options
        length = whole(options, "length") if "length" in options else 4
        if length not in LENGTHS:
            raise InputError(f"--set length={length}; accepted: {', '.join(map(str, LENGTHS))}")
        if settings.frames % length:
            raise InputError(f"--frames {settings.frames}; accepted: multiples of {length}, the length of a clip")
        cells: list[Cell] = []
        for kind, folder in _sources(settings):
            frames = settings.frames or length * CLIPS[settings.profile]
            own = replace(settings, data=(folder,), frames=frames)
            asked = plan(own, ("kinds", "length", "temporal", "queries", "epochs"), LEARNED)
            # Of a source only one of the two holds; both are set, so that all cells share their trained networks.
            asked = replace(asked, victim_settings={**asked.victim_settings, "clip": length, "pan": length})
            for split in settings.splits or stage_ends(asked.victim)[1:2]:
                cells += _of(asked, kind, split, length)
        return cells

    def run(self, cell: Cell, work: Path, progress: Progress) -> CellResult:
        """Train where the cell asks for it, stream, invert when all has been heard, score, sum up."""
        if "learners" in cell.columns:
            return run_black_box(self.name, cell, work, progress)
        keep_apart(cell)
        return run_cell(self.name, cell, RunFolder(work), progress)

    def sheets(self, results: Sequence[CellResult]) -> Sequence[Sheet]:
        """Pictures, frames together less frames alone, courses, what was learned, and the paper's figures."""
        learned = [result for result in results if "learners" in result.cell.columns]
        found = [contact(results), together(results)]
        for result in results:
            found += course_sheets(result)
        found += [learning(learned)] if learned else []
        printed = table(
            "Several frames, as the paper reports them",
            ("knowledge", "network and layer", "difference", "PSNR (dB)", "SSIM"),
            [list(row) for row in PAPER],
            ("The paper's: 4 frames, 0.5 s apart, of Tanks and Temples at full size, with its own prior.",),
        )
        return [sheet for sheet in (*found, *without(results), printed) if sheet is not None]

    def paper(self, cell: Cell) -> Mapping[str, Mapping[str, float]]:
        """The paper has differences for this, no values: they stand in a table of their own."""
        return {}


def _sources(settings: Settings) -> list[tuple[str, Path]]:
    """Kind of clips and their folder: the user's own, or those of the real data."""
    if settings.data:
        if len(settings.data) > 1:
            raise InputError("--data: given twice; accepted: one folder of videos or of photographs")
        if "kinds" in settings.options:
            raise InputError("--set kinds: --data is of one kind, a folder of videos or of photographs")
        return [("real" if videos(settings.data[0]) else "panned", settings.data[0])]
    kinds, data = listed(settings.options.get("kinds", ",".join(KINDS)), "kinds"), real_data()
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise InputError(f"--set kinds={unknown[0]}; accepted: {', '.join(KINDS)}")
    if data is None:
        raise InputError("clips are of real pictures; give --data FOLDER, or set EAVESPLIT_DATA")
    return [(kind, data / KINDS[kind]) for kind in kinds]


def _of(asked: Plan, kind: str, split: str, length: int) -> list[Cell]:
    """The white-box cell of one kind of clips, and the black-box one."""
    options, profile = asked.options, asked.settings.profile
    told = f"{asked.victim.name}, {split}, {kind} clips"
    white, tied = _white(asked, split, length)
    cells = [cell(asked, split, f"{told}, white box", white, clips=kind, tied=tied, length=length)] if tied else []
    queries = whole(options, "queries", least=0) if "queries" in options else QUERIES[profile]
    if queries:
        epochs = whole(options, "epochs") if "epochs" in options else EPOCHS[profile]
        rows, pairs = _black(asked, queries, epochs, length)
        bare = cell(asked, split, f"{told}, black box", clips=kind, tied=pairs, length=length)
        cells.append(black_box_cell(asked, bare, rows))
    if not cells:
        why = "; ".join(f"{name}: {said}" for name, said in asked.absent.items())
        raise InputError(f"no attack takes several frames here ({why})")
    return cells


def _white(asked: Plan, split: str, length: int) -> tuple[list[AttackChoice], list[list[str]]]:
    """The rows, and which of them are of the same attack: [together, alone]."""
    options, profile = asked.options, asked.settings.profile
    weights = TEMPORAL[profile]
    if "temporal" in options:
        weights = tuple(_weight(text) for text in listed(options["temporal"], "temporal"))
    rows = [choice(asked, name, split) for name in asked.wanted if name not in ("direct", *TIED, *VARIANTS)]
    pairs = []
    for name in (name for name in TIED if name in asked.wanted):
        further: dict[str, Any] = {}
        if "iterations" not in options and profile in ITERATIONS:
            further["iterations"] = ITERATIONS[profile][name]
        rows.append(choice(asked, name, split, **further))
        for weight in weights:
            label = f"{name}-together-{weight:g}"
            rows.append(choice(asked, name, split, label, group=length, temporal=weight, **further))
            pairs.append([label, name])
    return rows, pairs


def _black(asked: Plan, queries: int, epochs: int, length: int) -> tuple[list[Learner], list[list[str]]]:
    """Learners that take a clip, each beside one that takes a frame; both ask about the same clips.

    Of so many answers a clip's learner has ``length`` times fewer examples, so it goes over them ``length`` times as
    often: both take as many steps.
    """
    rows: list[Learner] = []
    pairs = []
    for one in learners(asked, queries, queries, {"epochs": epochs}):
        if one.row not in LEARNED:
            continue
        data = {"clip": length, "pan": length}
        of = f"clips made by panning over {one.of}"
        alone = replace(one, data_settings=data, of=of)
        often = {"frames": length, "epochs": one.settings["epochs"] * length}
        clip = replace(alone, row=f"{one.row}-together", settings={**one.settings, **often})
        rows += [alone, clip]
        pairs.append([clip.row, alone.row])
    return rows, pairs


def together(results: Sequence[CellResult]) -> Sheet:
    """Every attack on frames together less the same attack on frames alone, paired by frame, intervals over clips."""
    sheet = Sheet(
        "Frames of a clip together, less one by one",
        ["cell", "attack", "clips", f"{PSNR.title} ↑", f"{SSIM.title} ↑"],
    )
    for result in results:
        scores, seed = read_scores(RunFolder(result.folder)), result.cell.stream.seed
        for joint, alone in result.cell.columns["tied"]:
            found = [compare(scores, joint, scores, alone, metric.name, seed) for metric in (PSNR, SSIM)]
            figures = [estimate(values, metric) for values, metric in zip(found, (PSNR, SSIM), strict=True)]
            names = [Entry(result.cell.title, kind="name"), Entry(f"{joint} - {alone}", kind="name")]
            sheet.add([*names, Entry(str(len(set(scores.groups.values())))), *figures])
    lengths = sorted({str(result.cell.columns["length"]) for result in results})
    sheet.notes += [
        f"The same frames, mean of the differences with a 95 % bootstrap interval over clips of {', '.join(lengths)} "
        f"frames; {ZERO}.",
        "Panned clips are made from photographs: a window moves over each, and nothing in them moves by itself. Real "
        "clips are frames of a few videos, one after the other: clips of one video are not independent of each other, "
        "so that their intervals are too narrow for other videos.",
        "A row's number is the weight of the temporal loss.",
    ]
    return sheet


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--set temporal={text}; accepted: numbers, a,b,c") from None


STUDY = Video()
