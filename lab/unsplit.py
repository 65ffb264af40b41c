"""``python -m lab.unsplit``: the same training in one process, without a wire, and what it renders.

It is the reference of split training: the same batches, jitter, chunks and optimisers, and one thread, as the processes
of a stream have. Standard input holds the request as JSON; standard output a line for each share that is done.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from subprocess import PIPE
from typing import Any, Final

import numpy as np
import torch

from lab.recorded import outcomes
from lab.runfolder import RunFolder
from lab.stream import StreamSettings
from lab.studies.base import plain
from victims.base import Progress
from victims.radiance.networks import parts
from victims.radiance.settings import training
from victims.radiance.unsplit import Unsplit
from victims.radiance.victim import SPLITNERF
from wire.errors import RunError

TOLD: Final = 20
"""Steps between two lines."""


def train(split: str, settings: Mapping[str, Any], source: str, frames: int, out: Path) -> None:
    """Train on the first ``frames`` samples of ``source`` and write what was rendered to ``out``.

    The file holds ``frame-N`` float32 (H, W, 3) for every picture, by its number in the stream, ``losses`` float64 (T,)
    and ``cpu_s``.
    """
    torch.set_num_threads(1)
    chosen = training(settings)
    network = Unsplit(*parts(split, chosen), chosen)
    renders: dict[str, np.ndarray] = {}
    losses: list[float] = []
    began = time.process_time()
    for number, sample in enumerate(SPLITNERF.samples(source, {**settings, "frames": frames})):
        if "colours" in sample.arrays:
            losses.append(network.step(sample))
        else:
            renders[f"frame-{number}"] = network.picture(sample)[0].numpy()
        if number % TOLD == 0:
            print(json.dumps({"done": number + 1}), flush=True)
    part = out.with_suffix(".part.npz")
    np.savez(part, losses=np.array(losses), cpu_s=np.array(time.process_time() - began), **renders)  # type: ignore[arg-type]
    os.replace(part, out)


def reference(stream: StreamSettings, folder: Path, progress: Progress) -> Path:
    """Train ``stream``'s victim in a process of its own; the file in ``folder``, where one from before is kept.

    Cells that differ in what crosses alone (its precision) share one. RunError with the process's last line when it
    fails.
    """
    settings = {"seed": stream.seed, **plain(stream.victim_settings)}
    settings.pop("precision", None)  # nothing crosses here
    asked = {"split": stream.split, "settings": settings, "source": stream.source, "frames": stream.frames}
    name = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]
    out = folder / f"{name}.npz"
    if out.is_file():
        return out
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {**asked, "out": str(out)}
    log = folder / f"{name}.log"
    command = [sys.executable, "-m", "lab.unsplit"]
    with log.open("w") as errors, subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=errors, text=True) as child:
        try:
            if child.stdin is not None:
                child.stdin.write(json.dumps(wanted))
                child.stdin.close()
            for line in child.stdout or ():
                progress(json.loads(line)["done"], stream.frames, "the unsplit training")
        except BaseException:
            child.kill()
            raise
    if child.returncode != 0:
        words = log.read_text(errors="replace").strip().splitlines() or ["no word"]
        raise RunError(f"the unsplit training ended with exit code {child.returncode}: {words[-1]}")
    return out


def compared(run: RunFolder, file: Path) -> dict[str, Any]:
    """Split against unsplit: ``pictures`` and ``steps`` that both have, how many are equal bit for bit, and the largest
    differences of a colour (0..1) and of a loss. ``cpu_s``: of the unsplit training."""
    with np.load(file) as held:
        renders = {key: held[key] for key in held.files}
    losses, cpu_s = renders.pop("losses"), float(renders.pop("cpu_s"))
    found: dict[str, Any] = {"pictures": 0, "pictures_equal": 0, "most": 0.0}
    found |= {"steps": 0, "steps_equal": 0, "most_loss": 0.0, "cpu_s": cpu_s}
    step = 0
    for frame, arrays in sorted(outcomes(run.edge)):
        if "loss" in arrays:
            loss = float(arrays["loss"])
            apart = abs(loss - float(np.float32(losses[step])))
            found["steps"], found["steps_equal"] = found["steps"] + 1, found["steps_equal"] + (apart == 0.0)
            found["most_loss"] = max(found["most_loss"], apart)
            step += 1
        elif (theirs := renders.get(f"frame-{frame}")) is not None:
            apart = float(np.abs(arrays["image"] - theirs).max())
            found["pictures"], found["pictures_equal"] = found["pictures"] + 1, found["pictures_equal"] + (apart == 0.0)
            found["most"] = max(found["most"], apart)
    return found


def main() -> int:
    """Read the request and train. Exit code 2 for bad input, with one line on stderr."""
    from wire.errors import EavesplitError

    asked = json.load(sys.stdin)
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in asked["settings"].items()}
    try:
        train(asked["split"], settings, asked["source"], asked["frames"], Path(asked["out"]))
    except EavesplitError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
