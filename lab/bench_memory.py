"""``python -m lab.bench_memory PRIOR PICTURES STEPS...``: the peak memory of one iteration through a prior's sampler.

In a process of its own, so that nothing else allocates. Counted are torch's own allocations, each with its bytes, from
its profiler: they are the same on every machine, unlike resident memory, which shows what the C library keeps for
later. Prints one line of JSON: bytes of the latents, and for each number of steps the peak with and without
checkpointing, in bytes above what was there before.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from wire.errors import RunError

TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class Memory:
    """latents: bytes of the latents of all pictures. recomputed, kept: steps -> peak bytes of one iteration, each U-Net
    call recomputed in the backward pass, or its activations kept."""

    latents: int
    recomputed: Mapping[int, int]
    kept: Mapping[int, int]

    @property
    def slope(self) -> float:
        """Least squares of the peak with recomputation over steps, in units of the latents' bytes."""
        return slope(self.recomputed) / self.latents


def slope(peaks: Mapping[int, int]) -> float:
    """Bytes a step, by least squares."""
    return float(np.polyfit(list(peaks), list(peaks.values()), 1)[0])


def peak_bytes(run: Callable[[], object]) -> int:
    """The most bytes that torch had allocated on the CPU during ``run``, above what it had before."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiled.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    told = sorted((e["ts"], e["args"]["Ev Idx"], e["args"]["Bytes"]) for e in events if e.get("name") == "[memory]")
    now = most = 0
    for _, _, size in told:
        now += size
        most = max(most, now)
    return most


def measure(prior: Path, pictures: int, steps: Sequence[int]) -> Memory:
    """Run this module on the prior in ``prior``. RunError with its last line when it fails."""
    command = [sys.executable, "-m", __spec__.name, str(prior), str(pictures), *map(str, steps)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise RunError(f"measuring memory took more than {TIMEOUT_S:.0f} s") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise RunError(f"measuring memory ended with exit code {done.returncode}: {said[-1] if said else 'no word'}")
    return parsed(done.stdout)


def parsed(output: str) -> Memory:
    """What :func:`main` printed; torch's profiler may have printed lines of its own."""
    told = json.loads(next(line for line in output.splitlines() if line.startswith("{")))
    recomputed, kept = ({int(n): size for n, size in told[name].items()} for name in ("recomputed", "kept"))
    return Memory(told["latents"], recomputed, kept)


def main(arguments: Sequence[str]) -> None:
    """See the module."""
    import torch

    from attacker.attacks.image.prior import load_prior, normalise

    torch.set_num_threads(1)
    prior, pictures = load_prior(Path(arguments[0])), int(arguments[1])
    noise = prior.noise(pictures, 0).requires_grad_()

    def iteration(steps: int, recompute: bool) -> None:
        made = prior.generate(normalise(noise), steps=steps, checkpointing=recompute)
        torch.autograd.grad(made.square().sum(), noise)

    peaks: dict[str, dict[int, int]] = {"recomputed": {}, "kept": {}}
    for name, recompute in (("recomputed", True), ("kept", False)):
        iteration(2, recompute)  # what is allocated once and for all
        for steps in map(int, arguments[2:]):
            peaks[name][steps] = peak_bytes(partial(iteration, steps, recompute))
    print(json.dumps({"latents": noise.numel() * noise.element_size(), **peaks}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
