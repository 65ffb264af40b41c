"""The bar of long work: what is being done, how far, and the time left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from victims.base import Progress as Report


@contextmanager
def bar() -> Iterator[Report]:
    """A bar on stderr for the time of the block; without a terminal, a line whenever a tenth is done."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as drawn:
        task = drawn.add_task("starting", total=None)

        def report(done: float, total: float, note: str = "") -> None:
            drawn.update(task, completed=done, total=total, description=note or "working")

        yield report


def _lines(console: Console) -> Report:
    last = [-1]

    def report(done: float, total: float, note: str = "") -> None:
        tenth = int(10 * done / total) if total else 0
        if tenth != last[0]:
            last[0] = tenth
            console.print(f"{tenth * 10:3d} % {note}", highlight=False)

    return report
