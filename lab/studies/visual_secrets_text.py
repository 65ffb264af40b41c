"""Tables 2 and 5 and Figure 14 of "Unlocking Visual Secrets": does a description of the picture help the attack?

The prompts are a fixed list that never saw a picture: one for each word. Every prompt is tried on every picture, so
that each picture has a right one, wrong ones and none. "Chosen" is what a listener can do who knows nothing: of all
prompts, the one with the lowest feature loss.

Table 5 is the black box: two inversion networks that learn alike from the same queries, one of them told words of each
picture it asks about; then it is given every prompt, and none. Who has no weights has no feature loss to choose by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from lab.studies.black_box import learning, run_black_box
from lab.studies.image import cell, choice, keep_apart, needs_diffusion, plan, stage_ends
from lab.studies.visual_secrets_text_blackbox import KIND, TOLD, black_cell, queries_of, row_of, why_not
from lab.studies.visual_secrets_whitebox import without
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

PAPER_2: Final = (
    ("resnet18", "L16", 4.5, 15.4, 0.02, 0.59),
    ("resnet50", "L48", 5.2, 14.9, 0.03, 0.54),
    ("vit-b-16", "L8", 4.3, 14.7, 0.02, 0.56),
)
"""Table 2, white box: PSNR without and with text, SSIM without and with text."""

PAPER_5: Final = (
    ("resnet50", "L48", 4.3, 13.6, 0.03, 0.50),
    ("yolo-v2-resnet50", "L48", 5.4, 14.0, 0.08, 0.44),
    ("clip-vit-b-32", "embedding", 12.0, 17.7, 0.46, 0.56),
)
"""Table 5, black box: the same."""


class Text:
    """Two cells a split point, white box and black box, with a row for each prompt: the same pictures for all."""

    name = "visual-secrets-text"
    summary = "Unlocking Visual Secrets, Tables 2, 5, Figure 14: right, wrong and no words, by weights and by queries"
    source = "Unlocking Visual Secrets, Tables 2 (30 pictures with plain backgrounds) and 5"
    takes_victim = True

    def cells(self, settings: Settings) -> Sequence[Cell]:
        """``options``: those of :data:`lab.studies.image.OPTIONS`, ``words`` (``class`` or ``background``) and
        ``diffusion_queries`` (0: no black box)."""
        asked = plan(settings, ("words", "diffusion_queries"), (KIND,))
        needs_diffusion(asked, self.name)
        kind = str(settings.options.get("words", "class"))
        if kind not in WORDS:
            raise InputError(f"--set words={kind}; accepted: {', '.join(WORDS)}")
        for key, value in settings.options.items():
            if key in _OURS:
                raise InputError(f"--set {key}={value}: the study tries all words itself; accepted: --set words=KIND")
        queries = queries_of(settings)
        why = why_not(asked, kind) if queries else ""
        if why and "diffusion_queries" in settings.options:
            raise InputError(f"--set diffusion_queries={queries}: {why}")
        asked = replace(asked, absent={KIND: why} if why else {})
        told = {} if "iterations" in settings.options else {"iterations": ITERATIONS[settings.profile]}
        splits = settings.splits or stage_ends(asked.victim)[-1:]
        cells = []
        for split in splits:
            rows = [choice(asked, "diffusion", split, EMPTY, **told)]
            rows += [choice(asked, "diffusion", split, word, prompt=said, **told) for word, said in WORDS[kind].items()]
            title = f"{asked.victim.name}, {split}, {kind} words"
            cells.append(cell(asked, split, title, rows, words=kind))
            if queries and not why:
                bare = cell(asked, split, f"{title}, by queries", words=kind)
                cells.append(black_cell(asked, bare, queries, kind, {EMPTY: "", **WORDS[kind]}))
        return cells

    def run(self, cell: Cell, work: Path, progress: Progress) -> CellResult:
        """Train where the cell asks for it, stream, invert when all has been heard, score, sum up."""
        if "learners" in cell.columns:
            return run_black_box(self.name, cell, work, progress)
        keep_apart(cell)
        return run_cell(self.name, cell, RunFolder(work), progress)

    def sheets(self, results: Sequence[CellResult]) -> Sequence[Sheet]:
        """Right, wrong, chosen and no words; pictures; what was learned; the paper's rows."""
        learned = [result for result in results if "learners" in result.cell.columns]
        found = [contact(results)]
        found += [_table_5(result) if result in learned else _table_2(result) for result in results]
        found += [learning(learned)] if learned else []
        found += [
            *without(results),
            _printed(2, PAPER_2, "10 pictures each of sky, grassland and snow, with prompts that name the background"),
            _printed(5, PAPER_5, "pictures with plain backgrounds; networks that learnt from 4096 answers each"),
        ]
        return [sheet for sheet in found if sheet is not None]

    def paper(self, cell: Cell) -> Mapping[str, Mapping[str, float]]:
        """None beside ours: the paper's rows are of other networks."""
        return {}


_OURS: Final = ("diffusion.prompt", f"{KIND}.prompt", f"{KIND}.words")
"""Settings of attacks that the study's rows differ in."""


def _table_2(result: CellResult) -> Sheet:
    folder, words = RunFolder(result.folder), list(WORDS[str(result.cell.columns["words"])])
    scores, right = read_scores(folder), _right(result)
    picked = chosen(folder, [EMPTY, *words])
    sheet = _compared(
        f"Table 2, with words and without: {result.cell.title}",
        result,
        {
            EMPTY: dict.fromkeys(scores.groups, (EMPTY,)),
            "right words": {frame: (word,) for frame, word in right.items()},
            "wrong words (mean of all)": {frame: tuple(w for w in words if w != own) for frame, own in right.items()},
            "chosen by feature loss": {frame: (word,) for frame, word in picked.items()},
        },
    )
    hits = sum(picked[frame] == word for frame, word in right.items() if frame in picked)
    sheet.notes[-1] += f" Chosen by feature loss were the right ones {hits} times."
    return sheet


def _table_5(result: CellResult) -> Sheet:
    words, right = list(WORDS[str(result.cell.columns["words"])]), _right(result)
    frames, told = read_scores(RunFolder(result.folder)).groups, "learnt with words"
    sheet = _compared(
        f"Table 5, with words and without: {result.cell.title}",
        result,
        {
            "learnt without words": dict.fromkeys(frames, (KIND,)),
            f"{told}, right words": {frame: (row_of(word),) for frame, word in right.items()},
            f"{told}, wrong words (mean of all)": {
                frame: tuple(row_of(word) for word in words if word != own) for frame, own in right.items()
            },
            f"{told}, {EMPTY}": dict.fromkeys(frames, (row_of(EMPTY),)),
        },
    )
    sheet.notes.append(
        f"{KIND} and {TOLD} began with the same weights and learnt from the same queries in as many steps; the second "
        "was told words of each picture it asked about, and its loss has the noise's negentropy beside (equation 12)."
    )
    return sheet


def _compared(title: str, result: CellResult, rows: Mapping[str, Mapping[int, Sequence[str]]]) -> Sheet:
    """Means over pictures, and what each row has more than the first on the same pictures.

    rows: label -> frame -> the recorded rows whose mean is meant.
    """
    scores, measure = read_scores(RunFolder(result.folder)), scorer_of(result.cell)
    declared, bare = Declarations.of(measure), next(iter(rows))
    metrics = [declared[name] for name in measure.key]
    against = [f"{metric.title} less {bare}" for metric in metrics[:2]]
    sheet = Sheet(title, ["prompt", *[f"{m.title}" for m in metrics], *against])
    seed = result.cell.stream.seed
    for label, by_frame in rows.items():
        row, compared = [Entry(label, kind="name")], []
        for metric in metrics:
            values = mean_of(scores, by_frame, metric.name)
            drawn = generator(seed, f"bootstrap.text.{metric.name}")
            summary = summarize(list(values.values()), [scores.groups[f] for f in values], drawn)
            row.append(estimate(summary.asdict(), metric))
            if metric in metrics[:2]:
                base = mean_of(scores, rows[bare], metric.name)
                compared.append(paired(values, base, scores.groups, generator(seed, "bootstrap.text.difference")))
        sheet.add([*row, *[estimate(c.asdict(), m) for c, m in zip(compared, metrics[:2], strict=True)]])
    words = WORDS[str(result.cell.columns["words"])]
    sheet.notes += [
        "Differences are on the same picture; an interval that leaves out 0 is a difference.",
        f"Right words are the label's or the background's own; {len(_right(result))} of {len(scores.groups)} pictures "
        f"have some among the {len(words)} that were tried. All were tried on every picture and none was made for it: "
        "that a listener knows which is right is an assumption.",
    ]
    return sheet


def _right(result: CellResult) -> dict[int, str]:
    """Frame -> its own word, where it is among those that were tried."""
    kind = str(result.cell.columns["words"])
    return {
        frame: word
        for frame, truth in truths(RunFolder(result.folder).edge)
        if (word := right_word(truth, kind)) in WORDS[kind]
    }


def _printed(number: int, rows: Sequence[tuple[object, ...]], of: str) -> Sheet:
    return table(
        f"Table {number} as printed",
        ("network", "layer", "PSNR without text", "PSNR with text", "SSIM without", "SSIM with"),
        [list(row) for row in rows],
        (f"The paper's: {of}.",),
    )


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
