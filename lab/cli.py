"""``eavesplit``: the command line. Heavy imports happen inside the commands, so that ``--help`` is quick."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lab.cli_options import (
    Data,
    Device,
    Frames,
    Link,
    Profile,
    Record,
    RecordGb,
    Redis,
    Resume,
    Seed,
    Set,
    Split,
    Tls,
    Victim,
    Workers,
    device_of,
    pairs_of,
    redis_of,
    settings_of,
)
from wire.errors import EavesplitError, InputError

app = typer.Typer(
    name="eavesplit",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="How private is split computing? An edge streams features to a cloud; a listener on the line rebuilds the "
    "input."
    "\n\nStart with: [bold]eavesplit demo lidar[/bold]",
)
runs_app = typer.Typer(no_args_is_help=True, help="List or prune the folders under runs/.")
app.add_typer(runs_app, name="runs")
out = Console()
err = Console(stderr=True)

ROOT = Path("runs")

DEMOS = ("lidar", "image", "radiance")

STOPPED = 130
"""Exit code after Ctrl-C."""


@app.command()
def demo(
    modality: Annotated[str, typer.Argument(help="lidar, image or radiance.")] = "lidar",
    data: Data = None,
    frames: Frames = 0,
    seed: Seed = 0,
    split: Split = None,
    defense: Annotated[
        str | None, typer.Option(help="A name from `eavesplit list`. Default: feature_centric; radiance: none.")
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(help="Noise deviation in units of the features' RMS (0.5; live: 0); c of gradient-norm-noise."),
    ] = None,
    device: Device = "auto",
    tls: Tls = False,
    link: Link = "",
    redis: Redis = "",
    workers: Workers = 0,
    resume: Resume = None,
    live: Annotated[bool, typer.Option("--live", help="Stream without end and open a page to watch and turn.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the live page; 0: any free one.")] = 8750,
    screenshot: Annotated[Path | None, typer.Option(help="Live: save a picture of the page, then stop.")] = None,
) -> None:
    """Run the main job and write a report; with --live, show it on a page until Ctrl-C.

    Example: eavesplit demo lidar --live
    """
    if modality not in DEMOS:
        raise InputError(f"demo {modality!r} does not exist; there are: {', '.join(DEMOS)}")
    if screenshot is not None and not live:
        raise InputError("--screenshot needs --live: it is a picture of the live page")
    given = {"defense": defense, "strength": strength}
    options = {key: value for key, value in given.items() if value is not None}
    if live:
        if resume is not None:
            raise InputError("--resume and --live exclude each other: a live stream has no end to reach")
        if modality != "radiance":  # which begins without a defense
            options = {"strength": 0.0, **options}
        settings = settings_of(
            "quick", data, frames, seed, split, device, "auto", 2.0, tls, options, link, redis, workers
        )
        _live(f"demo-{modality}", settings, port, screenshot)
        return
    settings = settings_of("quick", data, frames, seed, split, device, "auto", 2.0, tls, options, link, redis, workers)
    _execute(f"demo-{modality}", resume, settings)


@app.command()
def run(
    study: Annotated[str, typer.Argument(help="A study from `eavesplit list`.")],
    data: Data = None,
    frames: Frames = 0,
    seed: Seed = 0,
    victim: Victim = "",
    split: Split = None,
    profile: Profile = "quick",
    device: Device = "auto",
    record: Record = "auto",
    record_gb: RecordGb = 2.0,
    tls: Tls = False,
    link: Link = "",
    redis: Redis = "",
    workers: Workers = 0,
    setting: Set = None,
    resume: Resume = None,
) -> None:
    """Run a study: every cell as processes of their own, then scores, summary and report.

    Example: eavesplit run concretizer --data path/to/kitti --split conv3.0
    """
    from lab.studies.registry import study as find

    options = pairs_of(setting)
    if victim:
        if not getattr(find(study), "takes_victim", False):
            raise InputError(f"--victim {victim}: {study} has a victim of its own")
        options["victim"] = victim
    settings = settings_of(
        profile, data, frames, seed, split, device, record, record_gb, tls, options, link, redis, workers
    )
    _execute(study, resume, settings)


@app.command()
def sweep(
    study: Annotated[str, typer.Argument(help="A study from `eavesplit list`.")],
    over: Annotated[list[str] | None, typer.Option("--over", help="path=a,b,c (repeatable): all combinations.")] = None,
    data: Data = None,
    frames: Frames = 0,
    seed: Seed = 0,
    split: Split = None,
    profile: Profile = "quick",
    device: Device = "auto",
    record: Record = "auto",
    record_gb: RecordGb = 2.0,
    tls: Tls = False,
    link: Link = "",
    setting: Set = None,
    resume: Resume = None,
) -> None:
    """Run a study over every combination of some settings; each is a run folder, finished ones are not repeated.

    Example: eavesplit sweep demo-lidar --over strength=0,0.5,1 --over link=lan,lte
    """
    from lab.progress import bar
    from lab.sweep import sweep as start

    settings = settings_of(profile, data, frames, seed, split, device, record, record_gb, tls, pairs_of(setting), link)
    with bar() as progress:
        swept = start(study, settings, over or [], ROOT, resume, progress)
    for line in swept.lines:
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    out.print(str(swept.made))
    raise typer.Exit(1 if any(outcome.status == "failed" for outcome in swept.outcomes) else 0)


@app.command()
def train(
    what: Annotated[str, typer.Argument(help="What to train; an unknown name lists what there is.")],
    split: Annotated[str, typer.Option(help="Split point of the attack.")] = "conv3.0",
    work: Annotated[Path, typer.Option(help="Checkpoints; run again with the same folder to go on.")] = Path("work"),
    seed: Seed = 0,
    setting: Set = None,
) -> None:
    """Train what is shipped; resumes from its last checkpoint.

    Example: eavesplit train concretizer --split conv4.0 --work work/conv4
    """
    from lab.progress import bar
    from lab.training import train as start

    with bar() as progress:
        made = start(what, split, work, seed, pairs_of(setting), progress)
    out.print(str(made), soft_wrap=True)


@app.command()
def attack(
    capture: Annotated[Path, typer.Argument(help="A capture folder, or the run folder that holds one.")],
    name: Annotated[list[str] | None, typer.Option("--attack", help="Attacks to run (repeatable).")] = None,
    to: Annotated[Path | None, typer.Option(help="Where the reconstructions go. Default: a new run folder.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Invert a capture again, without a stream, in the attacker's guarded process.

    Example: eavesplit attack runs/2026-11-21T10-04-11_demo-lidar --attack concretizer
    """
    from lab.progress import bar
    from lab.replay import replay

    with bar() as progress:
        made = replay(capture, name or [], to or ROOT, seed, device_of(device), progress)
    out.print(str(made), soft_wrap=True)


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(help="Folders of runs or sweeps.")],
    figures: Annotated[
        Path | None, typer.Option(help="Write the figures of one run to this JSON file, in the place of a page.")
    ] = None,
) -> None:
    """Write report.html anew from what a run or a sweep recorded; several runs get one page, side by side.

    Example: eavesplit report runs/2026-11-21T10-04-11_demo-lidar runs/2026-11-21T10-31-50_demo-lidar
    """
    from lab.comparing import report as told
    from lab.figures import write_figures
    from lab.runfolder import RunFolder

    if figures is not None and len(folders) > 1:
        raise InputError(f"--figures {figures}: of {len(folders)} runs; accepted: one")
    made = told(folders) if figures is None else write_figures(RunFolder.open(folders[0]), figures)
    out.print(str(made), soft_wrap=True)


@app.command("list")
def list_everything() -> None:
    """Show victims with their split points, defenses, attacks and studies."""
    from attacker.registry import names as attacks
    from defenses.registry import names as defenses
    from lab.studies.registry import names as studies
    from lab.studies.registry import study
    from victims.registry import names as victims
    from victims.registry import victim

    table = Table(show_header=True, header_style="bold", box=None)
    for column in ("kind", "name", "what"):
        table.add_column(column, overflow="fold")
    for name in victims():
        chosen = victim(name)
        table.add_row("victim", name, f"{chosen.modality}; split points {', '.join(chosen.splits)}")
    for name in defenses():
        table.add_row("defense", name, "")
    for name in attacks():
        table.add_row("attack", name, "")
    for name in studies():
        table.add_row("study", name, study(name).summary)
    out.print(table)


@runs_app.command("list")
def runs_list(root: Annotated[Path, typer.Argument(help="Where runs lie.")] = ROOT) -> None:
    """Show every run, the oldest first."""
    from lab.runfolder import runs

    for folder in runs(root):
        out.print(f"{folder.path}  {'finished' if folder.finished else 'unfinished: --resume ' + str(folder.path)}")
    out.print(str(root))


@runs_app.command("prune")
def runs_prune(
    root: Annotated[Path, typer.Argument(help="Where runs lie.")] = ROOT,
    keep: Annotated[int, typer.Option(min=0, help="The newest so many stay.")] = 10,
    unfinished: Annotated[bool, typer.Option("--unfinished", help="Only runs that never finished.")] = False,
) -> None:
    """Delete all but the newest runs."""
    from lab.runfolder import prune

    for gone in prune(root, keep, only_unfinished=unfinished):
        out.print(f"deleted {gone}")
    out.print(str(root))


@app.command()
def doctor() -> None:
    """Say what this machine can do, and how to mend what it cannot."""
    from lab.doctor import checks

    worst = 0
    for check in checks():
        mark = {"ok": "[green]ok[/green]  ", "note": "[yellow]note[/yellow]", "bad": "[red]bad[/red] "}[check.level]
        mend = f"  ->  {check.mend}" if check.mend else ""
        out.print(f"{mark} {escape(check.name)}: {escape(check.found)}{escape(mend)}", soft_wrap=True)
        worst = max(worst, check.level == "bad")
    raise typer.Exit(worst)


@app.command()
def bench(
    what: Annotated[str, typer.Argument(help="wire, attack, page, queue or radiance.")],
    rounds: Annotated[int, typer.Option(min=3, help="Interleaved rounds, after one that warms up.")] = 7,
    split: Split = None,
    redis: Annotated[str, typer.Option("--redis", help="bench queue: URL of a server. Default: one of its own.")] = "",
    workers: Annotated[int, typer.Option(min=1, max=64, help="bench queue: the most worker processes.")] = 2,
    victim: Annotated[str, typer.Option("--victim", help="bench attack: the network. Default: second.")] = "",
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="bench attack of pictures: prior=FOLDER, pictures=16, steps=10.")
    ] = None,
) -> None:
    """Measure in paired rounds: ratios with their range, beside a comparison of the same against the same.

    Example: eavesplit bench wire --rounds 9
    """
    from lab.bench import WHAT
    from lab.bench import tell as told
    from lab.progress import bar

    if what not in WHAT:
        raise InputError(f"bench {what!r} does not exist; there are: {', '.join(WHAT)}")
    if what in ("wire", "queue", "radiance") and split:
        raise InputError(f"bench {what} --split: there is none to choose; accepted with bench attack and bench page")
    if what != "attack" and (victim or setting):
        raise InputError(f"bench {what}: --victim and --set are accepted with bench attack")
    if what != "queue" and redis:
        raise InputError(f"bench {what} --redis: nothing goes through Redis; accepted with bench queue")
    with bar() as progress:
        if what == "wire":
            from lab.bench_wire import bench_wire

            found = bench_wire(rounds, progress)
        elif what == "queue":
            from lab.bench_queue import bench_queue

            found = bench_queue(rounds, progress, workers=workers, redis=redis_of(redis))
        elif what == "page":
            from lab.bench_page import bench_page

            found = bench_page(rounds, progress, split=split[0] if split else None)
        elif what == "radiance":
            from lab.bench_radiance import bench_radiance

            found = bench_radiance(rounds, progress)
        elif victim and victim != "second":
            from lab.bench_image import asked

            found = asked(victim, rounds, progress, split or (), pairs_of(setting))
        else:
            if setting:
                raise InputError("bench attack --set: nothing to set of second; accepted with --victim of pictures")
            from lab.bench_attack import bench_attack

            found = bench_attack(rounds, progress, splits=split or ())
    told(found, out)
    out.print(str(found.write(ROOT, rounds)))


@app.command()
def serve(
    role: Annotated[str, typer.Argument(help="edge, link, cloud, attacker, worker or console.")],
    config: Annotated[Path, typer.Option(help="The role file (TOML).")],
) -> None:
    """Run one process of a stream on its own, as compose files and other machines do.

    Example: eavesplit serve cloud --config cloud.toml
    """
    import os

    modules = {"edge": "edge", "link": "wire.relay", "cloud": "cloud", "attacker": "attacker", "console": "console"}
    modules["worker"] = "attacker.work"
    if role not in modules:
        raise InputError(f"role {role!r} does not exist; there are: {', '.join(modules)}")
    os.execv(sys.executable, [sys.executable, "-m", modules[role], "--config", str(config)])


def _execute(study: str, resume: Path | None, settings: Any) -> None:
    from lab.execute import execute
    from lab.progress import bar

    with bar() as progress:
        finished = execute(study, settings, ROOT, resume, progress)
    for line in finished.lines:
        out.print(escape(line), soft_wrap=True)
    out.print(str(finished.report), soft_wrap=True)


def _live(study: str, settings: Any, port: int, screenshot: Path | None) -> None:
    import signal

    from lab.live import Live, demo_cut
    from lab.runfolder import RunFolder

    split, cut = demo_cut(study, settings)
    folder = RunFolder.create(ROOT, f"{study}-live", {"seed": settings.seed})
    with Live(split, cut, folder.path, port) as live:
        if screenshot is not None:
            from lab.photograph import FRAME, LEARNT, photograph

            out.print(str(photograph(live.address, screenshot, LEARNT if live.training else FRAME)))
            return
        signal.signal(signal.SIGTERM, lambda *_: live.end())  # as Ctrl-C: everything is stopped in order
        out.print(f"{folder.path}: at most {live.disk_gb:.1f} GB; Ctrl-C ends it")
        out.print(live.address)
        live.run()


def main() -> None:
    """Entry point: errors of ours become one line and exit code 2, Ctrl-C exit code 130."""
    try:
        # Without its own ending, the parser returns the code of an early exit (130 for Ctrl-C) instead of raising.
        code = app(standalone_mode=False)
    except EavesplitError as error:
        err.print(f"[red]eavesplit:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        code = STOPPED
    except Exception as error:
        code = _ended(error)
    if code == STOPPED:
        err.print("[yellow]stopped[/yellow]")
    sys.exit(code if isinstance(code, int) else 0)


def _ended(error: Exception) -> int:
    """The exit code of what the parser or a stopped run raised; anything else is a defect and goes on up."""
    if type(error).__name__ == "Stopped":
        err.print(f"go on with: {escape(str(error))}", highlight=False, soft_wrap=True)
        return STOPPED
    show, exit_code = getattr(error, "show", None), getattr(error, "exit_code", None)
    if callable(show) and isinstance(exit_code, int):  # a mistake in the words; its class is the parser's own
        show()
        return exit_code
    if isinstance(error, typer.Exit):
        return int(error.exit_code)
    if isinstance(error, typer.Abort):
        return STOPPED
    raise error


if __name__ == "__main__":
    main()
