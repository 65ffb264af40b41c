"""Scenes from files: written here from the procedural room, in every form, and read back; broken ones by name."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from victims.base import Sample, validate
from victims.radiance.batch import batch_of, rendering_sample
from victims.radiance.room import room
from victims.radiance.scene import PosedPicture, Scene
from victims.radiance.victim import SPLITNERF, scene
from wire.errors import InputError

SIDE = 24
HUGE = 10**400  # an integer that no float holds


@pytest.fixture(scope="module")
def source() -> Scene:
    return room(2, side=SIDE, views=10)


def four_rows(picture: PosedPicture) -> list[list[float]]:
    return [*picture.camera.pose.tolist(), [0.0, 0.0, 0.0, 1.0]]


def write_colmap(folder: Path, source: Scene, **more: Any) -> Path:
    """As instant-ngp and nerfstudio write it."""
    (folder / "images").mkdir(parents=True)
    frames = []
    for picture in source.pictures:
        Image.fromarray(picture.image).save(folder / "images" / f"{picture.name}.png")
        frames.append({"file_path": f"images/{picture.name}.png", "transform_matrix": four_rows(picture)})
    focal = source.pictures[0].camera.focal[0]
    pinhole = {"w": SIDE, "h": SIDE, "fl_x": focal, "fl_y": focal, "cx": SIDE / 2, "cy": SIDE / 2}
    (folder / "transforms.json").write_text(json.dumps({**pinhole, "frames": frames[::-1], **more}))
    return folder


def write_blender(folder: Path, source: Scene) -> Path:
    """As NeRF's synthetic scenes: transparent pictures, names without an ending, one angle for all."""
    for part, pictures in (("train", source.training), ("test", source.testing)):
        (folder / part).mkdir(parents=True)
        frames = []
        for number, picture in enumerate(pictures):
            alpha = np.full((SIDE, SIDE, 1), 255, np.uint8)
            alpha[0, 0] = 0
            pixels = np.concatenate([picture.image, alpha], axis=2)
            Image.fromarray(pixels, "RGBA").save(folder / part / f"r_{number}.png")
            frames.append(
                {"file_path": f"./{part}/r_{number}", "transform_matrix": four_rows(picture), "rotation": 0.1}
            )
        (folder / f"transforms_{part}.json").write_text(
            json.dumps({"camera_angle_x": math.radians(75), "frames": frames})
        )
    return folder


def write_seven_scenes(folder: Path, source: Scene) -> Path:
    """Sequences, split files, OpenCV axes, depth along the axis in millimetres."""
    folder.mkdir(parents=True)
    focal, middle = source.pictures[0].camera.focal[0], SIDE / 2
    matrix = [[focal, 0, middle], [0, focal, middle], [0, 0, 1]]
    (folder / "camera-intrinsics.txt").write_text("\n".join(" ".join(map(str, row)) for row in matrix))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    stretch = np.sqrt(1 + ((columns + 0.5 - middle) ** 2 + (rows + 0.5 - middle) ** 2) / focal**2)
    for part, number, pictures in (("Train", 1, source.training), ("Test", 2, source.testing)):
        (folder / f"{part}Split.txt").write_text(f"sequence{number}\n")
        sequence = folder / f"seq-{number:02d}"
        sequence.mkdir()
        for index, picture in enumerate(pictures):
            stem = sequence / f"frame-{index:06d}"
            Image.fromarray(picture.image).save(f"{stem}.color.png")
            assert picture.depth is not None
            depth = (picture.depth / stretch * 1000).round().astype(np.uint16)
            depth[0, 0] = 65535
            Image.fromarray(depth).save(f"{stem}.depth.png")
            pose = np.array(four_rows(picture)) @ np.diag([1.0, -1.0, -1.0, 1.0])
            Path(f"{stem}.pose.txt").write_text("\n".join("\t".join(f"{v:.7e}" for v in row) for row in pose))
    return folder


def same(read: PosedPicture, wanted: PosedPicture) -> None:
    assert np.allclose(read.camera.pose, wanted.camera.pose, atol=1e-6)
    assert read.camera.focal == pytest.approx(wanted.camera.focal) and read.camera.centre == wanted.camera.centre


def test_colmaps_form(tmp_path: Path, source: Scene) -> None:
    folder = write_colmap(
        tmp_path / "scene", source, scene_hint={"near": 0.2, "aabb_min": [-3, -3, 0], "aabb_max": [3, 3, 3]}
    )
    for asked in (folder, folder / "transforms.json"):
        read = scene(str(asked), {"side": 0})
        assert read.held_out == {0, 8} and read.name == "scene" and read.near == 0.2
        assert read.box == (-3, -3, 0, 3, 3, 3) and read.half == 3
        for one, two in zip(read.pictures, source.pictures, strict=True):  # sorted by name, whatever the file's order
            same(one, two)
            assert np.array_equal(one.image, two.image)
    reduced = scene(str(folder), {"side": 12, "box": (-1.0, -1.0, -1.0, 1.0, 2.0, 1.0)})
    assert reduced.pictures[0].image.shape == (12, 12, 3) and reduced.half == 1.5
    assert reduced.pictures[0].camera.focal[0] == pytest.approx(source.pictures[0].camera.focal[0] / 2)
    steps = list(SPLITNERF.samples(str(folder), {"frames": 3, "rays": 7, "first": 2}))
    assert [s.name for s in steps] == ["step-000002", "step-000003", "step-000004"]
    assert all(isinstance(s, Sample) and s.arrays["pixels"].shape == (7,) for s in steps)


def test_blenders_form(tmp_path: Path, source: Scene) -> None:
    read = scene(str(write_blender(tmp_path / "lego", source)), {})
    assert (len(read.training), len(read.testing)) == (8, 2)
    for one, two in zip([*read.training, *read.testing], [*source.training, *source.testing], strict=True):
        same(one, two)
        assert (one.image[0, 0] == 255).all() and np.array_equal(one.image[1:], two.image[1:])  # white behind
    # No box is given: the one around the cameras holds the room's middle and every camera.
    low, high = np.array(read.box[:3]), np.array(read.box[3:])
    for place in [np.array([0.0, 0.0, 1.0]), *(p.camera.pose[:, 3] for p in read.pictures)]:
        assert (low < place).all() and (place < high).all()


def test_seven_scenes(tmp_path: Path, source: Scene) -> None:
    folder = write_seven_scenes(tmp_path / "room", source)
    read = scene(str(folder), {})
    assert (len(read.training), len(read.testing), read.metric) == (8, 2, True)
    for one, two in zip([*read.training, *read.testing], [*source.training, *source.testing], strict=True):
        same(one, two)
        assert np.array_equal(one.image, two.image)
        assert one.depth is not None and two.depth is not None and one.depth[0, 0] == 0
        assert np.allclose(one.depth[1:], two.depth[1:], atol=2e-3)
    # The box is found from the depths: the room, and not much more.
    assert np.allclose(read.box, (-2.4, -2, 0, 2.4, 2, 2.5), atol=0.6)
    one_sequence = scene(str(folder / "seq-01"), {"views": 4})
    assert (len(one_sequence.pictures), one_sequence.held_out) == (4, {0})


def test_views_are_taken_evenly_from_all(tmp_path: Path, source: Scene) -> None:
    colmap = scene(str(write_colmap(tmp_path / "scene", source)), {"views": 4})
    # 0, 3, 6 and 9 of ten, by name; the first of every eight is held out
    assert [p.name for p in colmap.pictures] == ["view-000", "view-003", "view-006", "view-009"]
    assert colmap.held_out == {0}
    more = scene(str(tmp_path / "scene"), {"views": 11})
    assert len(more.pictures) == 10
    blender = scene(str(write_blender(tmp_path / "lego", source)), {"views": 2})  # so many of each file
    assert [p.name for p in blender.training] == ["r_0", "r_7"] and [p.name for p in blender.testing] == ["r_0", "r_1"]
    for folder in (tmp_path / "scene", write_seven_scenes(tmp_path / "room", source)):
        for wrong in (1, "few", True):
            with pytest.raises(InputError, match=rf"setting views is {wrong!r}; accepted: a whole number from 2"):
                scene(str(folder), {"views": wrong})


def edit(folder: Path, change: Callable[[dict[str, Any]], object], name: str = "transforms.json") -> None:
    read = json.loads((folder / name).read_text())
    change(read)
    (folder / name).write_text(json.dumps(read))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda r: r.pop("fl_x") and r.pop("fl_y"), "no intrinsics; accepted: fl_x (and fl_y), or camera_angle_x"),
        (lambda r: r.update(fl_x=-3), "fl_x is -3; accepted: a number from 0.001 to 1e+06"),
        (lambda r: r.update(fl_x=1.1e6), "fl_x is 1100000.0; accepted: a number from 0.001 to 1e+06"),
        (lambda r: r.update(fl_x=HUGE), "fl_x is 100000000000000000...0000000000000000000; accepted: a number from"),
        (lambda r: r.update(w=HUGE), "w is 100000000000000000...0000000000000000000; accepted: a finite number"),
        (lambda r: r.update(cy=-2e6), "cy is -2000000.0; accepted: a number from -1e+06 to 1e+06"),
        (
            lambda r: [r.pop("fl_x"), r.pop("fl_y"), r.update(camera_angle_x=1e-6)],  # 12 / tan(5e-7)
            "camera_angle_x is 1e-06, a focal length of 2.4e+07 pixels; accepted: 0.001 to 1e+06",
        ),
        (lambda r: r["frames"][0]["transform_matrix"][0].__setitem__(3, HUGE), "transform_matrix is no matrix of num"),
        (
            lambda r: r["frames"][0]["transform_matrix"][0].__setitem__(3, 1e300),
            "the pose is no rigid transform: it holds 1e+300; accepted: at most 1e+12",
        ),
        (
            lambda r: r["frames"][0]["transform_matrix"][0].__setitem__(0, -1e300),
            "the pose is no rigid transform: it holds 1e+300; accepted: at most 1e+12",
        ),
        (
            lambda r: r.update(scene_hint={"near": HUGE}),
            "near is 100000000000000000...0000000000000000000; accepted: a",
        ),
        (lambda r: r.update(scene_hint={"near": -1}), "near is -1; accepted: 0 to"),
        (
            lambda r: r.update(scene_hint={"near": 300.1, "aabb_min": [-3, -3, 0], "aabb_max": [3, 3, 3]}),
            "near is 300.1; accepted: 0 to 300, 100 half sides of the box",
        ),
        (
            lambda r: r.update(scene_hint={"aabb_min": [-3, -3, HUGE], "aabb_max": [3, 3, 3]}),
            "aabb_min is [-3, -3, 100000000000000000...0000000000000000000]; accepted: a list of numbers",
        ),
        (
            lambda r: r.update(scene_hint={"aabb_min": [-3, -3, -1e308], "aabb_max": [3, 3, 1e308]}),
            "box [-3.0, -3.0, -1e+308, 3.0, 3.0, 1e+308]; accepted: six numbers",
        ),
        (
            lambda r: r.update(scene_hint={"aabb_min": [0, 0, 0], "aabb_max": [1e-320] * 3}),
            "view-000: the pose in half sides of the box (4.99994e-321) is no rigid transform: it holds values that",
        ),
        (
            lambda r: r["frames"][0].update(file_path="a\0b"),
            "frame 0 has file_path 'a\\x00b'; accepted: the name of a picture, at most 1024 characters wi",
        ),
        (lambda r: r["frames"][0].update(file_path="a\nb"), "frame 0 has file_path 'a\\nb'; accepted: the name"),
        (lambda r: r["frames"][0].update(file_path="\ud800"), "frame 9 has file_path '\\ud800'; accepted: the name of"),
        (
            lambda r: r["frames"][0].update(file_path="a" * 5000),
            "frame 0 has file_path 'aaaaaaaaaaaa...aaaaaaaaaaaaa'; accepted: the name of a picture, at most",
        ),
        (
            lambda r: r["frames"][0].update(file_path="é" * 1000),
            "lists 'éééééééééééé...ééééééééééééé', not readable (File name too long)",
        ),
        (lambda r: r.update(k1=0.1), "distorted (k1 is 0.1); accepted: pinhole pictures (colmap image_undistorter)"),
        (lambda r: r.update(w=25), "w is 25, but the picture has 24 pixels"),
        (lambda r: r.update(cx="middle"), "cx is 'middle'; accepted: a number"),
        (
            lambda r: r["frames"][0].update(transform_matrix=[[1, 0, 0, 0], [0, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
            "the pose is no rigid transform: its axes miss unit length or right angles by 3; accepted: at most 0.01",
        ),
        (lambda r: r["frames"][0].pop("transform_matrix"), "the pose is no rigid transform: it has shape ()"),
        (lambda r: r["frames"][0].update(transform_matrix=[[1], [2, 3]]), "transform_matrix is no matrix of numbers"),
        (lambda r: r.update(frames=[]), "frames is no list of objects, or empty"),
        (lambda r: r["frames"][0].update(file_path=7), "frame 0 has file_path 7; accepted: the name of a picture"),
    ],
)
def test_broken_transforms(
    change: Callable[[dict[str, Any]], object], line: str, tmp_path: Path, source: Scene
) -> None:
    folder = write_colmap(tmp_path / "scene", source)
    edit(folder, change)
    with pytest.raises(InputError) as caught:
        scene(str(folder), {})
    assert line in str(caught.value) and str(folder / "transforms.json") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pictures_that_are_listed_but_absent_or_no_pictures(tmp_path: Path, source: Scene) -> None:
    folder = write_colmap(tmp_path / "scene", source)
    picture = folder / "images" / "view-003.png"
    picture.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"view-003\.png: no picture; accepted: "):
        scene(str(folder), {})
    picture.unlink()
    with pytest.raises(InputError) as caught:
        scene(str(folder), {})
    assert str(caught.value) == f"{folder / 'transforms.json'}: lists view-003.png, but there is no file {picture}"


def test_files_that_are_none(tmp_path: Path, source: Scene) -> None:
    with pytest.raises(
        InputError, match=r"no posed pictures; accepted: transforms\.json, transforms_train\.json, a 7-"
    ):
        scene(str(tmp_path), {})
    with pytest.raises(InputError, match=r"nowhere: no such file or folder of posed pictures$"):
        scene(str(tmp_path / "nowhere"), {})
    (tmp_path / "transforms.json").write_text("{")
    with pytest.raises(InputError, match=r"transforms\.json: no JSON"):
        scene(str(tmp_path), {})
    folder = write_blender(tmp_path / "half", source)
    (folder / "transforms_test.json").unlink()
    with pytest.raises(InputError, match=r"transforms_test\.json: no such file"):
        scene(str(folder), {})
    with pytest.raises(InputError, match=r"^a room of 1 pictures of 96 pixels; accepted: 2 to 1000, of 8 to 1024$"):
        scene("procedural", {"views": 1})
    with pytest.raises(InputError, match=r"^setting box is \(1, 2\.0\); accepted|box \[1\.0, 2\.0\]; accepted"):
        scene(str(write_colmap(tmp_path / "boxed", source)), {"box": (1.0, 2.0)})
    for wrong in (("low", 0, 0, 1, 1, 1), (0, 0, 0, 1, 1, HUGE)):
        with pytest.raises(InputError, match=r"^setting box is \(.*\); accepted: six numbers"):
            scene(str(tmp_path / "boxed"), {"box": wrong})


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda f: (f / "camera-intrinsics.txt").unlink(), "no intrinsics for a picture of 24x24; accepted: a file"),
        (lambda f: (f / "seq-01" / "frame-000001.color.png").unlink(), "but there is no file"),
        (lambda f: (f / "seq-01" / "frame-000001.pose.txt").write_text("1 2 3"), "3 numbers; accepted: a 4x4 matrix"),
        (lambda f: (f / "seq-01" / "frame-000001.pose.txt").write_text("-nan " * 16), "the pose is no rigid transform"),
        (
            lambda f: (f / "camera-intrinsics.txt").write_text("2e6 0 12 0 2e6 12 0 0 1"),
            "focal lengths 2e+06, 2e+06, centre 12, 12; accepted: from 0.001 to 1e+06, centre from -1e+06 to 1e+06",
        ),
        (
            lambda f: (f / "camera-intrinsics.txt").write_text("1e-9 0 12 0 20 12 0 0 1"),
            "focal lengths 1e-09, 20, cent",
        ),
        (
            lambda f: (f / "camera-intrinsics.txt").write_text("20 0 nan 0 20 12 0 0 1"),
            "focal lengths 20, 20, centre nan",
        ),
        (
            lambda f: (f / "seq-01" / "frame-000001.pose.txt").write_text("1 0 0 1e300 0 1 0 0 0 0 1 0 0 0 0 1"),
            "the pose is no rigid transform: it holds 1e+300; accepted: at most 1e+12",
        ),
        (lambda f: (f / "TestSplit.txt").write_text("sequence9"), "lists sequence9, but"),
        (lambda f: (f / "TestSplit.txt").write_text("../../etc"), "'../../etc'; accepted: lines like sequence1"),
        (lambda f: Image.new("L", (24, 24)).save(f / "seq-01" / "frame-000001.depth.png"), "L; accepted: 16-bit gray"),
    ],
)
def test_broken_seven_scenes(change: Callable[[Path], object], line: str, tmp_path: Path, source: Scene) -> None:
    folder = write_seven_scenes(tmp_path / "room", source)
    change(folder)
    with pytest.raises(InputError) as caught:
        scene(str(folder), {})
    assert line in str(caught.value) and "\n" not in str(caught.value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    focal=st.floats(1e-4, 1e7) | st.sampled_from([1e-3, 1.1e-3, 1e6]),
    near=st.floats(0, 1e4) | st.sampled_from([300.0, 300.0000001]),
    centre=st.floats(-2e6, 2e6),
    high=st.floats(-1, 1e12) | st.sampled_from([1e-13, 1e-6]),
    side=st.sampled_from([0, 2, 12]),
)
def test_what_a_reader_takes_may_cross(
    focal: float, near: float, centre: float, high: float, side: int, tmp_path: Path
) -> None:
    """The wire's own validator is asked: no scene that is read is refused there."""
    folder = tmp_path / "scene"
    if not folder.exists():
        write_colmap(folder, room(2, side=SIDE, views=2))
    edit(folder, lambda r: r.update(fl_x=focal, fl_y=focal, cx=centre, scene_hint={
        "near": near, "aabb_min": [0, 0, 0], "aabb_max": [3, high, 3]
    }))  # fmt: skip
    try:
        read = scene(str(folder), {"side": side})
    except InputError:
        return
    for number, picture in enumerate(read.pictures):
        validate(batch_of(rendering_sample(read, picture.camera, "asked", view=number)).payload(0, 1))


def test_a_picture_that_is_too_large_to_cross(tmp_path: Path) -> None:
    folder = write_colmap(tmp_path / "scene", room(2, side=SIDE, views=2))
    edit(folder, lambda r: [r.pop("w"), r.pop("h")])
    for picture in (folder / "images").iterdir():
        Image.new("RGB", (16385, 8)).save(picture)
    with pytest.raises(InputError, match=r"a picture of 16385x8 pixels; accepted: at most 16384 on a side"):
        scene(str(folder), {"side": 0})
    assert scene(str(folder), {"side": 64}).pictures[0].camera.size == (1, 64)


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "views", "size", "up"),
    [
        ("fox", 50, (160, 89), (0, 0, 1)),
        ("kitchen", 100, (120, 160), (0, -1, 0)),
        ("dining", 62, (106, 160), (0, 1, 0)),
    ],
)
def test_real_scenes(name: str, views: int, size: tuple[int, int], up: tuple[int, int, int], real_data: Path) -> None:
    read = scene(str(real_data / "nerf" / name), {})
    assert len(read.pictures) == views and read.held_out == set(range(0, views, 8))
    assert read.pictures[0].image.shape == (*size, 3) and read.pictures[0].camera.size == size
    upright = np.mean([p.camera.pose[:, 1] for p in read.pictures], axis=0)
    assert upright @ up > 0.7  # the data's own notes say which way is up
    low, high = np.array(read.box[:3]), np.array(read.box[3:])
    inside = [bool(((low <= p.camera.pose[:, 3]) & (p.camera.pose[:, 3] <= high)).all()) for p in read.pictures]
    assert np.mean(inside) > 0.9
