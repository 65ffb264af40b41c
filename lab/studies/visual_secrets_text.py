"""Tables 2 and 5 and Figure 14 of "Unlocking Visual Secrets": does a description of the picture help the attack?

The prompts are a fixed list that never saw a picture: one for each word. Every prompt is tried on every picture, so
that each picture has a right one, wrong ones and none. "Chosen" is what a listener can do who knows nothing: of all
prompts, the one with the lowest feature loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from attacker.attacks.image.prior_training.captions import COLOURS, background
from lab.cell import run_cell
from lab.contacts import contact
from lab.measuring import scorer_of
from lab.metrics.base import Declarations
from lab.metrics.statistics import paired, summarize
from lab.recorded import reconstructions, truths
from lab.runfolder import RunFolder
from lab.scores import Scores, read_scores
from lab.studies.base import Cell, CellResult, Settings
from lab.studies.image import cell, choice, keep_apart, needs_diffusion, plan, stage_ends
from lab.tables import Entry, Sheet, estimate
from lab.telling import table
from victims.base import Progress, Sample
from victims.image.cifar import CLASSES
from wire.errors import InputError
from wire.seeds import generator

EMPTY: Final = "no text"

ITERATIONS: Final = {"quick": 60, "cpu": 150, "paper": 1500}
"""There are as many descents as prompts, so each is shorter than in the other studies."""

WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "class": {name: f"a photo of {'an' if name[0] in 'aeiou' else 'a'} {name}" for name in CLASSES},
    "background": {
        name: f"a photo, {name} background" for name in ("white", "gray", "black", "blue", "green", "brown")
    },
}
"""Kind of words -> word -> prompt, in the words that the shipped prior was trained with."""

PAPER: Final = (
    ("resnet18", "L16", 4.5, 15.4, 0.02, 0.59),
    ("resnet50", "L48", 5.2, 14.9, 0.03, 0.54),
    ("vit-b-16", "L8", 4.3, 14.7, 0.02, 0.56),
)
"""Table 2, white box: PSNR without and with text, SSIM without and with text."""


class Text:
    """One cell a split point, a row for each prompt: the same captured features for all."""

    name = "visual-secrets-text"
    summary = "Unlocking Visual Secrets, Tables 2 and 5, Figure 14: right, wrong and no words for the diffusion attack"
    source = "Unlocking Visual Secrets, Table 2 (30 pictures with plain backgrounds)"
    takes_victim = True

    def cells(self, settings: Settings) -> Sequence[Cell]:
        """``options``: those of :data:`lab.studies.image.OPTIONS` and ``words`` (``class`` or ``background``)."""
        asked = plan(settings, ("words",))
        needs_diffusion(asked, self.name)
        kind = str(settings.options.get("words", "class"))
        if kind not in WORDS:
            raise InputError(f"--set words={kind}; accepted: {', '.join(WORDS)}")
        told = {} if "iterations" in settings.options else {"iterations": ITERATIONS[settings.profile]}
        splits = settings.splits or stage_ends(asked.victim)[-1:]
        cells = []
        for split in splits:
            rows = [choice(asked, "diffusion", split, EMPTY, **told)]
            rows += [choice(asked, "diffusion", split, word, prompt=said, **told) for word, said in WORDS[kind].items()]
            made = cell(asked, split, f"{asked.victim.name}, {split}, {kind} words", rows, words=kind)
            cells.append(made)
        return cells

    def run(self, cell: Cell, work: Path, progress: Progress) -> CellResult:
        """Stream, invert when all has been heard, score, sum up."""
        keep_apart(cell)
        return run_cell(self.name, cell, RunFolder(work), progress)

    def sheets(self, results: Sequence[CellResult]) -> Sequence[Sheet]:
        """Right, wrong, chosen and no words; pictures; the paper's rows."""
        printed = table(
            "Table 2 as printed",
            ("network", "layer", "PSNR without text", "PSNR with text", "SSIM without", "SSIM with"),
            [list(row) for row in PAPER],
            ("The paper's: 10 pictures each of sky, grassland and snow, with a prompt that names the background.",),
        )
        found = [contact(results), *(_sheet(result) for result in results), printed]
        return [sheet for sheet in found if sheet is not None]

    def paper(self, cell: Cell) -> Mapping[str, Mapping[str, float]]:
        """None beside ours: the paper's rows are of other networks."""
        return {}


def _sheet(result: CellResult) -> Sheet:
    folder, kind = RunFolder(result.folder), str(result.cell.columns["words"])
    scores, measure = read_scores(folder), scorer_of(result.cell)
    declared = Declarations.of(measure)
    words = list(WORDS[kind])
    right = {frame: word for frame, truth in truths(folder.edge) if (word := right_word(truth, kind)) in words}
    rows: dict[str, Mapping[int, Sequence[str]]] = {
        EMPTY: dict.fromkeys(scores.groups, (EMPTY,)),
        "right words": {frame: (word,) for frame, word in right.items()},
        "wrong words (mean of all)": {frame: tuple(w for w in words if w != own) for frame, own in right.items()},
        "chosen by feature loss": {frame: (word,) for frame, word in chosen(folder, [EMPTY, *words]).items()},
    }
    metrics = [declared[name] for name in measure.key]
    against = [f"{metric.title} less {EMPTY}" for metric in metrics[:2]]
    sheet = Sheet(
        f"With words and without: {result.cell.title}", ["prompt", *[f"{m.title}" for m in metrics], *against]
    )
    seed = result.cell.stream.seed
    for label, by_frame in rows.items():
        row, compared = [Entry(label, kind="name")], []
        for metric in metrics:
            values = mean_of(scores, by_frame, metric.name)
            drawn = generator(seed, f"bootstrap.text.{metric.name}")
            summary = summarize(list(values.values()), [scores.groups[f] for f in values], drawn)
            row.append(estimate(summary.asdict(), metric))
            if metric in metrics[:2]:
                base = mean_of(scores, rows[EMPTY], metric.name)
                compared.append(paired(values, base, scores.groups, generator(seed, "bootstrap.text.difference")))
        sheet.add([*row, *[estimate(c.asdict(), m) for c, m in zip(compared, metrics[:2], strict=True)]])
    picked = rows["chosen by feature loss"]
    hits = sum(picked[frame] == (word,) for frame, word in right.items() if frame in picked)
    sheet.notes += [
        "Differences are on the same picture; an interval that leaves out 0 is a difference.",
        f"Right words are the label's or the background's own; {len(right)} of {len(scores.groups)} pictures have some "
        f"among the {len(words)} that were tried. Chosen by feature loss were the right ones {hits} times.",
    ]
    return sheet


def right_word(truth: Sample, kind: str) -> str:
    """The word of ``kind`` that describes a picture; empty where it is not known."""
    if kind == "background":
        return list(COLOURS)[int(background(truth.arrays["image"][None])[0])]
    label = int(truth.truth.get("label", np.array(-1)))
    return CLASSES[label] if 0 <= label < len(CLASSES) else ""


def chosen(folder: RunFolder, rows: Sequence[str]) -> dict[int, str]:
    """Frame -> the row with the lowest feature loss, which a listener knows."""
    losses: dict[int, dict[str, float]] = {}
    for rebuilt in reconstructions(folder.reconstructions):
        if rebuilt.attack in rows and isinstance(loss := rebuilt.meta.get("attack.loss_feature"), float):
            losses.setdefault(rebuilt.frame, {})[rebuilt.attack] = loss
    return {frame: min(found, key=found.__getitem__) for frame, found in losses.items()}


def mean_of(scores: Scores, rows: Mapping[int, Sequence[str]], metric: str) -> dict[int, float]:
    """Frame -> mean of a metric over the rows that are named for it; frames where one of them has no value are out."""
    found = {}
    for frame, names in rows.items():
        values = [scores.of(name, metric).get(frame) for name in names]
        known = [value for value in values if value is not None]
        if values and len(known) == len(values):
            found[frame] = sum(known) / len(known)
    return found


STUDY = Text()
