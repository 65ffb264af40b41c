"""The report: complete, self-contained, safe, and drawn by a real browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lab.metrics.base import scorer
from lab.report import CellPage, chosen_frames, render
from lab.runfolder import RunFolder
from lab.scores import score_run
from lab.summary import Listener, count_frames, summarize_run
from lab.tables import Entry, Sheet
from victims.lidar.presets import preset
from wire.errors import InputError
from wire.payload import Payload

MakeRun = Callable[..., RunFolder]
LIDAR = scorer("lidar", {"preset": "street"})
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def page(run: RunFolder, title: str = "conv3.0", paper: dict[str, dict[str, float]] | None = None) -> CellPage:
    scores = score_run(run, LIDAR, seed=7)
    attacks = [a for a in scores.attacks if a != "oracle"]
    described = {
        "study": "concretizer-depths", "victim": "second", "split": title, "defense": "none", "link": {},
        "knowledge": {"vantage": "wire", "victim": "white", "leaks": [], "guard": {"landlock": True}},
    }  # fmt: skip
    dropped = {"concretizer": 10 - len(scores.of("concretizer", "f1_15"))}
    frames = count_frames(run, Listener(10, 0, dropped=dropped), attacks)
    summary = summarize_run(run, LIDAR, scores, frames, described, seed=7)

    def payload(frame: int) -> Payload | None:
        if frame == 0:
            return None
        street = preset("street")
        meta = {
            "grid": (11, 128, 128),
            "stride": (4, 4, 4),
            "range": street.range_xyz,
            "voxel": street.voxel_size[::-1],
        }
        coords = torch.tensor([[0, 5, 100, 9 + frame]], dtype=torch.int32)
        return Payload("features", "sparse_voxels", {"coords": coords, "features": torch.ones(1, 4)}, meta)

    return CellPage(title, run, summary, "lidar", {"preset": "street"}, paper or {}, payload)


def render_one(make_run: MakeRun, **arguments: object) -> tuple[RunFolder, str]:
    run = make_run(skip=(("concretizer", 3),), empty=(("concretizer", 9),))
    cell = page(run, paper={"concretizer": {"f1_15": 0.9914}})
    options = {"title": "Three <b>depths</b>", "command": "eavesplit run concretizer-depths --seed 7", **arguments}
    path = render(run, [cell], **options)  # type: ignore[arg-type]
    assert path == run.report
    return run, path.read_text(encoding="utf-8")


def embedded(html: str) -> dict[str, object]:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert match is not None
    loaded: dict[str, object] = json.loads(match[1])
    return loaded


def test_it_says_what_is_seen_and_found(make_run: MakeRun) -> None:
    extra = Sheet("The study's table", ["depth", "ours"])
    extra.add([Entry("2", kind="name"), Entry("–", why="not run")])
    run, html = render_one(make_run, extra=[extra], paper_source="ConcreTizer, Table 1")
    body = html[: html.index('<script type="application/json"')]
    assert "what the car&#39;s LiDAR saw" in body
    assert "the paper's: 0.991" in body
    assert "ConcreTizer, Table 1" in body
    assert "The study&#39;s table" in body
    assert "not run" in body
    assert "eavesplit run concretizer-depths --seed 7" in body
    assert "captured, but skipped for newer ones" in body
    assert "coordinates, which learns nothing" in body
    assert run.config["versions"]["numpy"] in body


def test_segments_of_a_swapped_defense_have_a_table_of_their_own(make_run: MakeRun) -> None:
    assert "by segment" not in render_one(make_run)[1]
    run = make_run(swaps={4: {"name": "feature_centric", "settings": {"strength": 0.5}}})
    html = render(run, [page(run)], title="x", command="y").read_text(encoding="utf-8")
    table = html[html.index("by segment") :]
    table = table[: table.index("</table>")]
    assert "feature_centric strength=0.5" in table
    assert "0 to 3" in table
    assert "4 to 9" in table


def test_a_sheet_may_be_a_picture(make_run: MakeRun) -> None:
    plot = Sheet("A plot", picture=b"\x89PNG not really", reads="Dots that fall & rise.")
    html = render_one(make_run, extra=[plot])[1]
    assert 'src="data:image/png;base64,iVBORyBub3QgcmVhbGx5" alt="Dots that fall &amp; rise."' in html


def test_it_carries_plotly_once_and_nothing_from_elsewhere(make_run: MakeRun) -> None:
    run, html = render_one(make_run)
    assert html.count("* plotly.js v") == 1
    assert run.report.stat().st_size < 12_000_000
    ours = html[: html.index("* plotly.js v")]
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", ours)
    assert "default-src 'none'" in html
    assert "Three &lt;b&gt;depths" in html


def test_nothing_in_the_data_can_end_a_script(make_run: MakeRun) -> None:
    run = make_run(frames=10)
    cell = page(run, title="</script><script>alert(1)</script>")
    html = render(run, [cell], title="x", command="y").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in html
    cells = embedded(html)["cells"]
    assert isinstance(cells, list)
    assert cells[0]["title"] == "</script><script>alert(1)</script>"


def test_cells_that_saw_the_same_scans_carry_them_once(make_run: MakeRun) -> None:
    run = make_run()
    cell = page(run)
    html = render(run, [cell, cell], title="x", command="y").read_text(encoding="utf-8")
    data = embedded(html)
    cells, pictures = data["cells"], data["pictures"]
    assert isinstance(cells, list)
    assert isinstance(pictures, list)
    assert [f["truth"] for f in cells[0]["frames"]] == [f["truth"] for f in cells[1]["frames"]]
    used = {
        i
        for c in cells
        for f in c["frames"]
        for i in [f["truth"], f["payload"], *f["rebuilt"].values()]
        if i is not None
    }
    assert used == set(range(len(pictures)))


def test_the_same_run_gives_the_same_file(make_run: MakeRun) -> None:
    run = make_run()
    cell = page(run)
    first = render(run, [cell], title="x", command="y").read_bytes()
    assert render(run, [cell], title="x", command="y").read_bytes() == first


def test_frames_are_spaced_over_the_stream() -> None:
    assert chosen_frames(range(10), 4) == [0, 3, 6, 9]
    assert chosen_frames([5, 7], 4) == [5, 7]
    assert chosen_frames(range(9), 1) == [0]


def test_what_cannot_be_reported_is_said(make_run: MakeRun) -> None:
    run = make_run(frames=10)
    with pytest.raises(InputError, match="no cell has finished"):
        render(run, [], title="x", command="y")
    other = CellPage("b", run, {}, "image")
    with pytest.raises(InputError, match="image and lidar"):
        render(run, [page(run), other], title="x", command="y")


def browse(path: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    if CHROMIUM is None:
        if os.environ.get("EAVESPLIT_REQUIRE"):
            pytest.fail("chromium is missing (apt-get install chromium)")
        pytest.skip("chromium is missing (apt-get install chromium)")
    command = [
        CHROMIUM, "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars",
        "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--enable-logging=stderr",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=15000", "--window-size=1400,1800",
        f"--user-data-dir={path.parent / 'browser'}", *flags, path.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=150, check=True)


def test_a_browser_draws_it_without_a_word_of_complaint(make_run: MakeRun) -> None:
    run, _ = render_one(make_run)
    done = browse(run.report, "--dump-dom")
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "willReadFrequently" not in line]
    assert said == []
    assert 'data-ready="true"' in done.stdout
    drawn = {name: int(n) for name, n in re.findall(r'id="(\w+)"[^>]*data-drawn="(\d+)"', done.stdout)}
    assert drawn.keys() >= {"truth", "rebuilt", "curves"}
    assert drawn["truth"] > 1000
    assert drawn["curves"] == 3  # concretizer, its floor, the oracle


USE = """<script>
const set = (id, value, event) => {
  document.getElementById(id).value = value;
  document.getElementById(id).dispatchEvent(new Event(event));
};
for (const frame of [9, 0, 3, 9, 1, 4]) set("frame", frame, "input");  // 9: empty, 3: not rebuilt
set("colour", "error", "change");
set("metric", "chamfer", "change");
document.querySelectorAll("#attack button")[1].click();
const above = { eye: { x: 0.01, y: 0, z: 2 }, center: { x: 0, y: 0, z: 0 }, up: { x: 1, y: 0, z: 0 } };
// Again and again: how long drawing takes is the machine's affair, not this test's.
setInterval(() => {
  Plotly.relayout("truth", { "scene.camera": above });
  const camera = document.getElementById("rebuilt").layout?.scene?.camera;
  if (camera) document.body.dataset.height = camera.eye.z;
  document.body.dataset.caption = document.getElementById("rebuilt-caption").textContent;
}, 1000);
</script></body>"""


def test_its_controls_work_and_the_pictures_turn_together(make_run: MakeRun) -> None:
    run, html = render_one(make_run)
    used = run.path / "used.html"
    used.write_text(html.replace("</body>", USE), encoding="utf-8")
    done = browse(used, "--dump-dom")
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "willReadFrequently" not in line]
    assert said == []
    assert 'data-height="2"' in done.stdout
    assert 'data-caption="Rebuilt by coordinates' in done.stdout
    assert "distance of a rebuilt point to the nearest true one (m)" in done.stdout


@pytest.mark.parametrize(("scheme", "bright"), [("0", False), ("1", True)])
def test_it_is_light_or_dark_as_the_system_is(make_run: MakeRun, tmp_path: Path, scheme: str, bright: bool) -> None:
    from PIL import Image

    run, _ = render_one(make_run)
    shot = tmp_path / "shot.png"
    browse(run.report, f"--screenshot={shot}", f"--blink-settings=preferredColorScheme={scheme}")
    pixels = np.asarray(Image.open(shot).convert("L"))
    assert (np.median(pixels) > 128) == bright
    # The panels (their middle, below the controls) show a cloud, not an even surface.
    assert pixels[250:550, 100:600].std() > 5
    assert pixels[250:550, 800:1300].std() > 5
