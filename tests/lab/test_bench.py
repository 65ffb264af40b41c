"""Benches: ratios by hand, the order of rounds, counters against Python's own, and real ends for a moment."""

from __future__ import annotations

import io
import json
import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console

from attacker.attacks.lidar.chain import Chain
from attacker.attacks.lidar.concretizer import save_chain
from attacker.config import AttackConfig
from lab.bench import (
    NO_DIFFERENCE,
    Bench,
    Comparison,
    Ratio,
    process_cpu_s,
    process_faults,
    ratio,
    rounds_of,
    tell,
)
from lab.bench_attack import HEAD, INVERT, WHOLE, bench_attack
from lab.bench_queue import Case, bench_queue
from lab.bench_wire import CEILING, PROTOCOL, Contender, _Run, judged
from victims.base import silent
from wire.errors import InputError, RunError


def test_ratios_are_paired_by_round() -> None:
    # 2/1, 6/4, 3/3: the ratio of the medians would be 3/3 = 1, the median of the ratios is 1.5.
    assert Ratio.of([2, 6, 3], [1, 4, 3]) == Ratio(1.5, 1.0, 2.0, 3)
    found = {"a": [{"s": 2.0}, {"s": 9.0}], "b": [{"s": 1.0}, {"s": 3.0}]}
    assert ratio(found, "a", "b", "s") == Ratio(2.5, 2.0, 3.0, 2)
    with pytest.raises(ValueError, match="zip"):
        Ratio.of([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("median", "shown"), [(1.25, NO_DIFFERENCE), (0.77, NO_DIFFERENCE), (1.31, "more"), (0.75, "less")]
)
def test_inside_the_noise_floor_no_difference_is_shown(median: float, shown: str) -> None:
    # Same against same gave 0.9 to 1.3; which of the two was first is chance, so 1/1.3 = 0.769 belongs to it.
    assert Ratio(median, median, median, 5).verdict(Ratio(1.0, 0.9, 1.3, 5)) == shown


def test_a_null_that_spreads_allows_no_verdict() -> None:
    assert judged(True, Ratio(1.0, 0.9, 1.1, 5), "0.79") == "held (0.79)"
    assert judged(False, Ratio(1.0, 0.9, 1.1, 5), "0.5") == "NOT HELD (0.5)"
    assert judged(False, Ratio(1.0, 0.8, 1.2, 5), "0.5").startswith(
        "no verdict (0.5): same against same spreads by 40%"
    )


def test_rounds_rotate_and_the_first_is_dropped() -> None:
    order: list[str] = []

    def contender(name: str):
        def run() -> dict[str, float]:
            order.append(name)
            return {"at": float(len(order))}

        return run

    found = rounds_of({name: contender(name) for name in "abc"}, 3, silent)
    assert order == [*"abc", *"bca", *"cab", *"abc"]
    assert [row["at"] for row in found["a"]] == [6.0, 8.0, 10.0]
    with pytest.raises(InputError, match="--rounds 2; accepted: 3 or more"):
        rounds_of({}, 2, silent)


def test_cpu_time_of_a_process_is_what_it_says_itself() -> None:
    before = time.process_time()
    found = process_cpu_s(os.getpid())
    assert before <= found <= time.process_time()


def test_faults_count_the_pages_that_were_touched() -> None:
    pages = 500
    with mmap.mmap(-1, pages * mmap.PAGESIZE) as memory:
        memory.madvise(mmap.MADV_NOHUGEPAGE)
        before = process_faults(os.getpid())
        for page in range(pages):
            memory[page * mmap.PAGESIZE] = 1
        assert process_faults(os.getpid()) - before >= pages


@pytest.mark.parametrize(("kind", "linked"), [(CEILING, False), (PROTOCOL, True)])
def test_real_ends_move_every_byte(kind: str, linked: bool, tmp_path: Path) -> None:
    with Contender(kind, tmp_path, link=linked, mirror=linked) as contender:
        found = _Run(contender, 3_000_000, 2)()  # no multiple of a piece
    assert found["wall_s"] > 0
    assert found["cpu_s"] > 0
    assert (found["relay_cpu_s_per_gb"] > 0) is linked


def test_an_end_that_dies_is_named(tmp_path: Path) -> None:
    with Contender(CEILING, tmp_path, link=False, mirror=False) as contender:
        contender.client.kill()
        contender.client.wait()
        with pytest.raises((RunError, BrokenPipeError)):
            contender.run(1, 1)


def test_a_bench_is_written_and_told_with_its_noise_floor(tmp_path: Path) -> None:
    compared = Comparison("1 MB", "a", "b", "speed", Ratio(0.5, 0.4, 0.6, 5), Ratio(1.0, 0.9, 1.1, 5))
    bench = Bench("wire", [compared], [("faults", "0.01")], ["gate: held"])
    out = io.StringIO()
    tell(bench, Console(file=out))
    assert "1 MB, a / b, speed: 0.50 (0.40 to 0.60) [1.00 (0.90 to 1.10)]: less\n" in out.getvalue()
    assert out.getvalue().endswith("faults: 0.01\ngate: held\n")
    written = json.loads(bench.write(tmp_path, 5).read_text())
    assert written["comparisons"][0]["verdict"] == "less"
    assert written["comparisons"][0]["null"] == {"median": 1.0, "low": 0.9, "high": 1.1, "n": 5}


def test_an_inversion_is_held_against_head_and_whole_on_the_same_frames(tmp_path: Path) -> None:
    torch.manual_seed(0)
    chain = Chain(1)
    save_chain(chain, tmp_path / "concretizer-conv2.0.safetensors", {})
    bench = bench_attack(3, silent, frames=1, weights=tmp_path, victim_weights="random")
    assert [(c.case, c.ours, c.theirs, c.ratio.n) for c in bench.comparisons] == [
        ("conv2.0", INVERT, HEAD, 3),
        ("conv2.0", INVERT, WHOLE, 3),
    ]
    sites = bench.details["conv2.0"]["sites"]
    assert sites["kept_f0"][0] <= sites["generated_f0"][0]
    assert sites["sites"][0] > 0
    titles = [title for title, _ in bench.facts]
    assert "conv2.0, inversion (ms a frame)" in titles
    assert "conv2.0, generated_f0 (sites a frame)" in titles


def test_without_an_inverter_the_answer_is_the_command_that_trains_it(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"no weights of concretizer for conv4\.0 .*train concretizer --split conv4\.0"
    ):
        bench_attack(3, silent, splits=("conv4.0",), weights=tmp_path)


def test_the_queue_is_held_against_processes_on_the_same_frames(tool: Callable[[str], str]) -> None:
    tool("redis-server")
    cheap = Case(AttackConfig(name="coordinates", settings={"preset": "street"}), 4)
    bench = bench_queue(3, silent, workers=1, of=[cheap])
    assert [(c.case, c.ours, c.theirs, c.quantity, c.ratio.n) for c in bench.comparisons] == [
        ("coordinates", "1 process", "one thread", "frames a second", 3),
        ("coordinates", "1 process", "one thread", "CPU time a frame", 3),
    ]
    rows = bench.details["coordinates"]["rounds"]
    assert list(rows) == ["one thread", "one thread again", "1 process again", "1 process"]
    assert all(row["frames a second"] > 0 and row["CPU time a frame"] > 0 for made in rows.values() for row in made)


def test_without_a_server_the_bench_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"redis-server is not installed: install it .*, or give --redis URL"):
        bench_queue(3, silent, of=[])
