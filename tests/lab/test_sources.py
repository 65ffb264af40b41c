"""A folder in which no picture can be read ends a command in one line, before anything starts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab.execute import execute
from lab.live import demo_cut
from lab.runfolder import RunFolder
from lab.studies.base import Settings, plain
from lab.studies.demo_image import DemoImage
from victims.base import silent
from wire.errors import InputError


@pytest.mark.parametrize(
    ("name", "options"),
    [("demo-image", {"strength": 0.0}), ("visual-secrets-whitebox", {"weights": "random", "attacks": "direct"})],
)
def test_nothing_starts_where_no_picture_can_be_read(tmp_path: Path, name: str, options: dict[str, object]) -> None:
    pictures, runs = tmp_path / "pictures", tmp_path / "runs"
    pictures.mkdir()
    for which in "ab":
        (pictures / f"{which}.png").write_bytes(b"no picture")
    settings = Settings(data=(pictures,), splits=("layer2.2",), frames=1, options=options)
    said = rf"^{pictures}: none of its 2 pictures can be read; the first: {pictures}/a\.png: no picture; accepted: PNG"
    with pytest.raises(InputError, match=said):
        execute(name, settings, runs, None, silent)
    assert not runs.exists()
    with pytest.raises(InputError, match=said):
        demo_cut(name, settings)
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(pictures / "c.png")
    assert demo_cut(name, settings)[0] == "layer2.2"


def test_a_cell_that_has_ended_needs_its_pictures_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    settings = Settings(data=(tmp_path / "a.png",), splits=("layer2.2",))
    (cell,) = DemoImage().cells(settings)
    folder = RunFolder.create(tmp_path / "runs", "demo-image", {"seed": 0, "settings": plain(settings)})

    class Reached(Exception):
        pass

    def run(*_: object) -> None:
        raise Reached

    monkeypatch.setattr(DemoImage, "run", run)
    with pytest.raises(InputError, match=r"a\.png: no picture"):
        execute("demo-image", settings, tmp_path, folder.path, silent)
    folder.cell(cell.id, {"seed": 0}).write_summary({})
    with pytest.raises(Reached):
        execute("demo-image", settings, tmp_path, folder.path, silent)
