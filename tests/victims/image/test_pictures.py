"""Good pictures pixel for pixel; bad ones in one line each; the rest of a folder goes on."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from victims.image.arrays import read_arrays
from victims.image.cifar import FILES, read
from victims.image.pictures import decode, find_pictures, fitted, panned, read_picture
from wire.errors import InputError

RNG = np.random.default_rng(1)
IMAGE = RNG.integers(0, 256, (20, 24, 3), np.uint8)


def stored(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    with io.BytesIO() as out:
        image.save(out, kind, **options)
        return out.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it has so many pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


JPEG = stored(Image.fromarray(IMAGE), "JPEG")
TURNED = np.rot90(IMAGE, -1)
EXIF = Image.Exif()
EXIF[0x0112], EXIF[0x010F], EXIF[0x011A] = 6, "maker", 72.0  # turned a quarter, a maker, a resolution
PHOTOGRAPHS = {kind: stored(Image.fromarray(IMAGE), kind, exif=EXIF) for kind in ("JPEG", "WEBP")}
BAD = {
    "text": (b"hello", "x: no picture; accepted: PNG, JPEG, WEBP, BMP"),
    "empty": (b"", "x: no picture; accepted: PNG, JPEG, WEBP, BMP"),
    "1x1": (stored(Image.new("RGB", (1, 1))), "x: 1x1 pixels; accepted: sides of at least 8"),
    "16-bit gray": (
        stored(Image.fromarray(np.zeros((9, 9), np.uint16))),
        "x: more than 8 bits a channel; accepted: RGB or gray pictures of 8 bits",
    ),
    "RGBA": (
        stored(Image.new("RGBA", (9, 9))),
        "x: transparent (RGBA); accepted: RGB or gray pictures of 8 bits, without transparency",
    ),
    "CMYK": (stored(Image.new("CMYK", (9, 9)), "JPEG"), "x: CMYK; accepted: RGB or gray pictures of 8 bits"),
    "bomb": (bomb(50_000, 1_000), "x: 50000x1000 pixels; accepted: at most 40,000,000 in all"),
    "bigger bomb": (bomb(60_000, 60_000), "x: more pixels than 40,000,000, which are accepted at most"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_picture_is_one_line(name: str) -> None:
    data, line = BAD[name]
    with pytest.raises(InputError) as caught:
        decode(data, "x")
    assert str(caught.value) == line


def test_16_bits_a_channel_are_not_silently_halved() -> None:
    rows = b"".join(b"\0" + bytes(9 * 6) for _ in range(9))

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 9, 9, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    with pytest.raises(InputError, match=r"^x: more than 8 bits a channel; accepted: RGB or gray pictures of 8 bits$"):
        decode(data, "x")


@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_a_truncated_jpeg_is_one_line(kept: float) -> None:
    with pytest.raises(InputError, match=r"^x: cut short or broken \(.+\)$"):
        decode(JPEG[: int(kept * len(JPEG))], "x")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damage_is_an_image_or_an_input_error(data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from([JPEG, stored(Image.fromarray(IMAGE)), *PHOTOGRAPHS.values()])))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = decode(bytes(whole[: data.draw(st.integers(1, len(whole)))]), "x")
    except InputError as error:
        line, shape, dtype = str(error), (1, 1, 3), np.dtype(np.uint8)
    else:
        line, shape, dtype = "", image.shape, image.dtype
    assert "\n" not in line and len(shape) == 3 and shape[2] == 3 and dtype == np.uint8


@pytest.mark.parametrize("kind", PHOTOGRAPHS)
def test_damage_to_any_byte_of_what_a_camera_noted_is_an_image_or_one_line(kind: str) -> None:
    whole = PHOTOGRAPHS[kind]
    begin = whole.index(b"MM\0*")
    pictures, said = 0, ""
    for place in range(begin, begin + len(EXIF.tobytes())):
        for value in (0, 1, 4, 12, 255):
            broken = whole[:place] + bytes([value]) + whole[place + 1 :]
            try:
                pictures += decode(broken, "x").shape in (IMAGE.shape, TURNED.shape)
            except InputError as error:
                said += str(error)
    assert pictures > 100 and "\n" not in said


def test_a_note_that_no_camera_writes_leaves_the_picture_upright() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    data = stored(Image.fromarray(IMAGE), "PNG", exif=exif)
    maker = data.index(b"\x01\x0f\0\x02")  # tag 0x010f, of type 2 (text)
    changed = data[:maker] + b"\x01\x0f\0\x05" + data[maker + 4 :]  # of type 5: two numbers, which it is not
    chunk = changed.index(b"eXIf")
    length = int.from_bytes(changed[chunk - 4 : chunk])
    check = struct.pack(">I", zlib.crc32(changed[chunk : chunk + 4 + length]))
    changed = changed[: chunk + 4 + length] + check + changed[chunk + 8 + length :]
    assert (decode(changed, "x") == TURNED).all()


def test_lossless_pictures_pixel_for_pixel() -> None:
    for kind in ("PNG", "BMP"):
        assert (decode(stored(Image.fromarray(IMAGE), kind), "x") == IMAGE).all()
    gray = stored(Image.fromarray(IMAGE[:, :, 0]))
    assert (decode(gray, "x") == IMAGE[:, :, :1]).all()


# How the first row and column of a stored picture lie: EXIF 2.3, table of Orientation.
SEEN = {
    1: IMAGE,
    2: IMAGE[:, ::-1],
    3: IMAGE[::-1, ::-1],
    4: IMAGE[::-1],
    5: IMAGE.transpose(1, 0, 2),
    6: np.rot90(IMAGE, -1),
    7: IMAGE[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(IMAGE),
    9: IMAGE,  # no orientation
}


@pytest.mark.parametrize("orientation", SEEN)
def test_a_turned_camera_is_turned_back(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = stored(Image.fromarray(IMAGE), "PNG", exif=exif)
    assert (decode(data, "x") == SEEN[orientation]).all()


def test_central_square_and_size() -> None:
    assert (fitted(IMAGE, 20).shape, fitted(IMAGE[:, 2:22], 20) is not None) == ((20, 20, 3), True)
    assert (fitted(IMAGE, 20) == IMAGE[:, 2:22]).all()  # the square's side is the one wanted: no resampling
    assert (fitted(np.full((30, 50, 3), 77, np.uint8), 8) == 77).all()


def test_a_clip_of_one_photograph() -> None:
    clip = list(panned(IMAGE, 10, 3))
    assert (clip[0] == IMAGE[5:15, :10]).all() and (clip[1] == IMAGE[5:15, 7:17]).all()
    assert (clip[2] == IMAGE[5:15, 14:]).all()
    with pytest.raises(InputError, match=r"^a clip of 21x21 windows over a picture of 24x20; accepted: a larger one$"):
        next(panned(IMAGE, 21, 2))


def test_files_are_found_by_name(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.PNG", "deep/a.jpg", "notes.txt"):
        (tmp_path / name).write_bytes(stored(Image.fromarray(IMAGE)))
    assert [p.name for p in find_pictures(tmp_path)] == ["b.PNG", "a.jpg"]
    assert (read_picture(tmp_path / "b.PNG") == IMAGE).all()
    with pytest.raises(InputError, match=r"not readable \(No such file or directory\)$"):
        read_picture(tmp_path / "gone.png")
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match=r"holds no pictures; accepted: a folder with \.bmp, \.jpeg, .+ files$"):
        find_pictures(tmp_path / "none")


def test_both_kinds_of_array_files(tmp_path: Path) -> None:
    images = RNG.integers(0, 256, (3, 32, 32, 3), np.uint8)
    np.savez(tmp_path / FILES["lossless"], images=images, labels=np.array([3, 0, 9]))
    whole = read(tmp_path, "lossless")
    assert (whole.images == images).all() and whole.labels.tolist() == [3, 0, 9]
    assert len(read(tmp_path, "lossless", 2)) == 2
    files = [stored(Image.fromarray(image)) for image in images]
    offset = np.cumsum([0, *map(len, files)])
    np.savez(tmp_path / "own.npz", jpeg=np.frombuffer(b"".join(files), np.uint8), offset=offset)
    own = read_arrays(tmp_path / "own.npz", 2)
    assert (own.images == images[:2]).all() and own.labels.tolist() == [-1, -1]


def test_array_files_that_are_none(tmp_path: Path) -> None:
    def refusal(**arrays: np.ndarray) -> str:
        np.savez(tmp_path / "x.npz", **arrays)
        with pytest.raises(InputError) as caught:
            read_arrays(tmp_path / "x.npz")
        return str(caught.value).removeprefix(f"{tmp_path / 'x.npz'}: ")

    pixels = np.zeros((2, 8, 8, 3), np.uint8)
    assert refusal(other=pixels) == "holds none of them; accepted: images, or jpeg and offset"
    assert refusal(images=pixels[0]) == "pictures are uint8 (8, 8, 3); accepted: uint8 (N, H, W, 3)"
    assert refusal(images=pixels, labels=np.zeros(3)) == "2 pictures with labels (3,); accepted: one label each"
    assert refusal(jpeg=pixels.ravel(), offset=np.array([0, 999])) == "offsets are no ascending places in 384 bytes"
    assert refusal(jpeg=pixels.ravel(), offset=np.array([0, 9])).endswith(
        "picture 0: no picture; accepted: PNG, JPEG, WEBP, BMP"
    )
    assert refusal(images=np.array([{}], object)).startswith("not readable as arrays (Object arrays cannot be loaded")
    assert refusal(images=pixels, labels=np.array(["cat", "dog"])) == "labels are <U3; accepted: whole numbers"
    assert refusal(images=pixels, labels=np.array([1.5, 2])) == "labels are float64; accepted: whole numbers"
    assert refusal(images=pixels, labels=np.array(1)) == "2 pictures with labels (); accepted: one label each"
    assert refusal(images=pixels[:, :0]) == "pictures are uint8 (2, 0, 8, 3); accepted: uint8 (N, H, W, 3)"
    assert refusal(images=np.array(1, np.uint8)) == "pictures are uint8 (); accepted: uint8 (N, H, W, 3)"
    assert refusal(jpeg=pixels, offset=np.array([0, 9])) == "jpeg is uint8 (2, 8, 8, 3); accepted: uint8 (bytes,)"
    assert refusal(jpeg=pixels.ravel(), offset=np.array(["a", "b"])) == "offsets are no ascending places in 384 bytes"
    np.save(tmp_path / "x.npy", pixels)
    (tmp_path / "x.npy").rename(tmp_path / "x.npz")
    with pytest.raises(InputError, match=r"x\.npz: not readable as arrays \("):
        read_arrays(tmp_path / "x.npz")
    (tmp_path / "x.npz").write_bytes(b"no")
    with pytest.raises(InputError, match=r": not readable as arrays \("):
        read_arrays(tmp_path / "x.npz")


def test_damage_to_any_byte_of_compressed_arrays_is_pictures_or_one_line(tmp_path: Path) -> None:
    path, said = tmp_path / "x.npz", []
    np.savez_compressed(path, images=np.full((2, 8, 8, 3), 7, np.uint8), labels=np.array([3, 4]))
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        try:
            assert len(read_arrays(path)) == 2
        except InputError as error:
            said.append(str(error))
    assert len(said) > len(whole) / 2
    assert all(line.startswith(f"{path}: ") and "\n" not in line for line in said)


def test_what_a_cifar_folder_must_hold(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, "lossless")
    assert str(caught.value) == (
        f"{tmp_path}: holds no {FILES['lossless']}; accepted: a folder with the four CIFAR-10 array files"
    )
    with pytest.raises(InputError, match=r"^CIFAR-10 set 'train' does not exist; accepted: jpeg-train, jpeg-test, "):
        read(tmp_path, "train")
    np.savez(tmp_path / FILES["lossless"], images=np.zeros((1, 32, 32, 3), np.uint8), labels=np.array([10]))
    with pytest.raises(InputError, match=r": labels from 10 to 10; accepted: 0 to 9$"):
        read(tmp_path, "lossless")
    np.savez(tmp_path / FILES["lossless"], images=np.zeros((1, 28, 28, 3), np.uint8), labels=np.array([1]))
    with pytest.raises(InputError, match=r": pictures are \(28, 28, 3\); accepted: \(32, 32, 3\)$"):
        read(tmp_path, "lossless")
