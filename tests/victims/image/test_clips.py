"""Clips: which frames belong together, and that one bad picture takes its own clip with it and no other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from victims.base import Sample
from victims.image.clips import pan_over
from victims.image.published import ESPNET_512
from victims.image.victim import CIFAR_RESNET20
from wire.errors import InputError


def picture(level: int) -> np.ndarray:
    return np.full((32, 32, 3), level, np.uint8)


def video(folder: Path, levels: list[int]) -> Path:
    """Frames of one level each; the index lists them backwards, as no sort of names would."""
    folder.mkdir(parents=True)
    rows = ["file,source_time_s"]
    for i, level in enumerate(levels):
        name = f"{len(levels) - i:03d}.png"
        Image.fromarray(picture(level)).save(folder / name)
        rows.append(f"{name},{i / 2}")
    (folder / "frames.csv").write_text("\n".join(rows) + "\n")
    return folder


def levels(samples: list[Sample]) -> list[int]:
    return [int(sample.arrays["image"][0, 0, 0]) for sample in samples]


def groups(samples: list[Sample]) -> list[str]:
    return [str(sample.meta.get("group")) for sample in samples]


def test_clips_are_consecutive_frames_of_one_video_in_turn(tmp_path: Path) -> None:
    video(tmp_path / "a", [1, 2, 3, 4, 5])
    video(tmp_path / "b", [11, 12, 13])
    samples = list(CIFAR_RESNET20.samples(str(tmp_path), {"clip": 2, "pan": 2}))
    assert levels(samples) == [1, 2, 11, 12, 3, 4]  # 5 and 13 fill no clip
    assert groups(samples) == ["a/clip-00"] * 2 + ["b/clip-00"] * 2 + ["a/clip-01"] * 2
    assert len({sample.name for sample in samples}) == 6
    assert levels(list(CIFAR_RESNET20.samples(str(tmp_path), {"clip": 2, "frames": 3}))) == [1, 2, 11]
    single = list(CIFAR_RESNET20.samples(str(tmp_path), {}))
    assert groups(single) == ["a"] * 5 + ["b"] * 3  # frames of one video are not independent pictures


def test_a_clip_with_a_broken_frame_is_left_out_whole(tmp_path: Path) -> None:
    folder = video(tmp_path / "a", [1, 2, 3, 4, 5, 6])
    (folder / "003.png").write_bytes(b"broken")  # the fourth frame
    stream = CIFAR_RESNET20.samples(str(tmp_path), {"clip": 2})
    assert levels([next(stream), next(stream)]) == [1, 2]
    with pytest.raises(InputError, match=r"003\.png: no picture"):
        next(stream)
    assert levels(list(stream)) == [5, 6]


def test_videos_without_a_whole_clip_are_refused_before_the_stream(tmp_path: Path) -> None:
    folder = video(tmp_path / "a", [1, 2, 3, 4])
    for name in ("001", "003"):
        (folder / f"{name}.png").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"^.*: none of its 2 clips can be read; the first: .*003\.png: no picture"):
        CIFAR_RESNET20.samples(str(tmp_path), {"clip": 2})


def test_bad_videos_are_one_line(tmp_path: Path) -> None:
    folder = video(tmp_path / "a", [1, 2])
    with pytest.raises(InputError, match=r"^.*: no video of 3 frames; accepted: folders with frames\.csv"):
        CIFAR_RESNET20.samples(str(tmp_path), {"clip": 3})
    (folder / "001.png").unlink()
    with pytest.raises(InputError, match=r"frames\.csv: names '001\.png', which is not there$"):
        CIFAR_RESNET20.samples(str(tmp_path), {"clip": 2})
    (folder / "frames.csv").write_text("time\n1\n")
    with pytest.raises(InputError, match=r"frames\.csv: not readable .* accepted: a table with a column file$"):
        CIFAR_RESNET20.samples(str(tmp_path), {"clip": 2})


def test_panning_moves_a_window_over_every_picture(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.arange(40, dtype=np.uint8)[None, :, None] * 5, (40, 40, 3))
    clip = pan_over(ramp, 32, 3)  # 40 is 1.25 times 32: nothing is resampled
    assert [window[0, 0, 0] for window in clip] == [0, 20, 40] and clip[0].shape == (32, 32, 3)
    Image.fromarray(ramp.copy()).save(tmp_path / "ramp.png")
    samples = list(CIFAR_RESNET20.samples(str(tmp_path), {"pan": 3, "clip": 3}))
    assert levels(samples) == [0, 20, 40] and groups(samples) == ["ramp"] * 3
    with pytest.raises(InputError, match="looks at 512x256 pictures; accepted here: a victim of squares"):
        next(ESPNET_512.samples(str(tmp_path), {"pan": 3}))


def test_panning_over_arrays_keeps_labels_and_stops_in_time(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", images=np.stack([picture(i) for i in range(9)]), labels=np.arange(9))
    samples = list(CIFAR_RESNET20.samples(str(tmp_path / "p.npz"), {"pan": 2, "frames": 5}))
    assert levels(samples) == [0, 0, 1, 1, 2]
    assert [int(sample.truth["label"]) for sample in samples] == [0, 0, 1, 1, 2]
