"""Folders of images: whatever a file holds beyond what is read is refused by name, and every entry is accounted for."""

import logging
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from deepclust import nets
from deepclust.datasets import Dataset, _own
from deepclust.errors import UserError
from deepclust.training.pretrain import pretrain

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def drawn_anew() -> None:
    """Let the images of a test not depend on the tests before it."""
    RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state


def image(*shape: int) -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, shape or (4, 5), dtype=np.uint8))


def folder(path: Path, n: int = 3) -> Path:
    path.mkdir()
    for i in range(n):
        image().save(path / f"{i}.png")
    return path


def read(path: Path, n_clusters: int = 2, **settings: Any) -> Dataset:
    return _own.prepare("mine", path, n_clusters=n_clusters, **settings)


def test_colour_jpegs_by_class_reach_a_convolutional_network_as_planes(tmp_path: Path) -> None:
    shades = {"leaf": (20, 200, 40), "sky": (30, 60, 220)}
    for name, colour in shades.items():
        (tmp_path / name).mkdir()
        for i in range(6):
            Image.new("RGB", (16, 16), colour).save(tmp_path / name / f"{i}.jpg", quality=95)
    data = read(tmp_path, labels="folders")
    assert data.image_shape == (3, 16, 16)
    assert data.y is not None
    assert data.y.tolist() == [0] * 6 + [1] * 6
    planes = data.X.reshape(-1, 3, 16, 16)
    for row, colour in ((0, shades["leaf"]), (6, shades["sky"])):
        assert planes[row].mean(axis=(1, 2)) * 255 == pytest.approx(colour, abs=3)  # JPEG keeps colours about

    settings = nets.make("conv", {"channels": [4, 8], "n_embedding": 2, "epochs": 1, "batch_size": 6})
    network, _ = pretrain(torch.from_numpy(data.X), settings, seed=0, image_shape=data.image_shape)
    code, reconstruction = network(torch.from_numpy(data.X))
    assert code.shape == (12, 2)
    assert reconstruction.shape == data.X.shape


# ------------------------------------------------------------------------------------------------- what a file may hold


def test_photographs_train_a_convolutional_network_with_augmentation(mirror: Path | None, tmp_path: Path) -> None:
    archive = mirror / "cifar10_jpeg/cifar10_test_500_a_class.zip" if mirror else None
    if archive is None or not archive.exists():
        pytest.skip("no mirror holds colour JPEGs: set DEEPCLUST_MIRROR to a folder with cifar10_jpeg")
    with zipfile.ZipFile(archive) as files:
        for name in sorted(name for name in files.namelist() if re.search(r"/00[0-2]\d\.jpg$", name)):
            files.extract(name, tmp_path / "photographs")
    data = read(tmp_path / "photographs", n_clusters=10, labels="folders")
    assert (data.X.shape, data.image_shape) == ((300, 3 * 32 * 32), (3, 32, 32))
    assert data.X.dtype == np.float32
    assert data.y is not None
    assert np.bincount(data.y).tolist() == [30] * 10
    with Image.open(tmp_path / "photographs/airplane/0000.jpg") as first:
        np.testing.assert_allclose(data.X[0].reshape(3, 32, 32) * 255, np.asarray(first).transpose(2, 0, 1), atol=1e-4)

    settings = nets.make(
        "conv", {"channels": [8, 16, 32], "epochs": 1, "batch_size": 60, "augmentation": {"rotation": 10.0}}
    )
    network, outcome = pretrain(torch.from_numpy(data.X), settings, seed=0, image_shape=data.image_shape)
    assert outcome.n_iter == 5
    with torch.no_grad():
        code, reconstruction = network(torch.from_numpy(data.X))
    assert (code.shape, reconstruction.shape) == ((300, 10), data.X.shape)
    assert bool(code.isfinite().all())
    assert float(code.std(dim=0).min()) > 0


def png(pixels: np.ndarray, kind: int) -> bytes:
    """Return a PNG of 16 bits a channel, which Pillow writes in grey alone."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(pixels: np.ndarray, extra: int = 0) -> bytes:
    """Return an uncompressed TIFF of colours in the type of `pixels`, with `extra` channels beside them."""
    height, width, channels = pixels.shape
    bits = 8 * pixels.dtype.itemsize
    entries = [(256, 3, [width]), (257, 3, [height]), (258, 3, [bits] * channels), (259, 3, [1]), (262, 3, [2])]
    entries += [(273, 4, [0]), (277, 3, [channels]), (278, 3, [height]), (279, 4, [pixels.nbytes])]
    entries += [(338, 3, [0] * extra)] if extra else []
    behind = 8 + 2 + 12 * len(entries) + 4
    table, values = b"", b""
    for tag, kind, content in entries:
        packed = struct.pack(f"<{len(content)}{'HI'[kind == 4]}", *content)
        if tag == 273:
            packed = struct.pack("<I", behind + 8)  # of the pixels, behind the bits of all channels
        if len(packed) > 4:
            packed, values = struct.pack("<I", behind + len(values)), values + packed.ljust(8, b"\0")
        table += struct.pack("<HHI", tag, kind, len(content)) + packed.ljust(4, b"\0")
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries))
    return head + table + bytes(4) + values.ljust(8, b"\0") + pixels.tobytes()


def deep(*shape: int) -> np.ndarray:
    return RNG.integers(0, 65536, shape, dtype=np.uint16)


def written_over(path: Path, mark: bytes, place: int, new: bytes) -> bytes:
    content = path.read_bytes()
    start = content.index(mark) + place
    return content[:start] + new + content[start + len(new) :]


def sgi(path: Path) -> bytes:
    image(4, 5, 3).save(path, "SGI", bpc=2)
    return path.read_bytes()


def jpeg2000(path: Path) -> bytes:
    image(64, 64, 3).save(path, "JPEG2000")
    return written_over(path, b"\xff\x4f\xff\x51", 45, b"\x0b")  # the second component's bits, less one


def avif(path: Path) -> bytes:
    image(64, 64, 3).save(path, "AVIF")
    path.write_bytes(written_over(path, b"pixi", 9, b"\x0a\x0a\x0a"))
    return written_over(path, b"av1C", 6, b"\x4c")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("grey.png", lambda _: png(deep(4, 5), 0)),
        ("grey_alpha.png", lambda _: png(deep(4, 5, 2), 4)),
        ("rgb.png", lambda _: png(deep(4, 5, 3), 2)),
        ("rgba.png", lambda _: png(deep(4, 5, 4), 6)),
        ("rgb.tif", lambda _: tiff(deep(4, 5, 3))),
        ("rgb.ppm", lambda _: b"P6 5 4 65535\n" + deep(4, 5, 3).tobytes()),
        ("grey.pgm", lambda _: b"P5 5 4 1023\n" + deep(4, 5).tobytes()),
        ("plain.ppm", lambda _: b"P3 1 1 300\n1 2 300\n"),
        ("rgb.sgi", sgi),
        ("rgb.jp2", jpeg2000),
        ("rgb.avif", avif),
    ],
)
def test_more_than_eight_bits_are_refused_whatever_the_format(
    tmp_path: Path, name: str, content: Callable[[Path], bytes]
) -> None:
    path = folder(tmp_path / "pets")
    (path / name).write_bytes(content(path / name))
    with pytest.raises(UserError, match=rf"^own.mine: {name} has more than 8 bits a channel \(.*\); save it with 8$"):
        read(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "gif", "webp", "ppm", "sgi", "tga", "jp2", "avif"])
def test_eight_bits_are_read_whatever_the_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "pets"
    path.mkdir()
    for i in range(3):
        image(16, 16, 3).save(path / f"{i}.{suffix}")
    data = read(path, image_shape=[3, 16, 16])
    with Image.open(path / f"1.{suffix}") as file:
        pixels = np.asarray(file.convert("RGB"), np.float32) / np.float32(255)
    assert data.X[1].tolist() == pixels.transpose(2, 0, 1).ravel().tolist()


def test_channels_that_are_no_colours_are_refused(tmp_path: Path) -> None:
    path = folder(tmp_path / "pets")
    (path / "9.tif").write_bytes(tiff(RNG.integers(0, 256, (4, 5, 4), dtype=np.uint8), extra=1))
    with pytest.raises(
        UserError, match=r"^own.mine: 9.tif has 4 channels, of which RGB keeps 3; save it as grey or RGB"
    ):
        read(path)


def test_colours_of_a_tiff_are_those_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "pets"
    path.mkdir()
    pixels = RNG.integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    for i, one in enumerate(pixels):
        (path / f"{i}.tif").write_bytes(tiff(one))
    expected = pixels.transpose(0, 3, 1, 2).reshape(3, -1).astype(np.float32) / np.float32(255)
    assert read(path).X.tolist() == expected.tolist()


@pytest.mark.parametrize("suffix", ["gif", "tif", "png", "webp"])
def test_further_frames_and_pages_are_refused(tmp_path: Path, suffix: str) -> None:
    path = folder(tmp_path / "pets")
    first, *others = [image(4, 5, 3) for _ in range(3)]
    first.save(path / f"9.{suffix}", save_all=True, append_images=others)
    with pytest.raises(
        UserError, match=rf"^own.mine: 9.{suffix} holds 3 images \(frames or pages\); save each as a file"
    ):
        read(path)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("alpha", [255, 254])
def test_alpha_is_dropped_where_it_hides_nothing_and_refused_elsewhere(tmp_path: Path, mode: str, alpha: int) -> None:
    path = folder(tmp_path / "pets", 0)
    grey = mode == "LA"
    pictures = [image(*((4, 5) if grey else (4, 5, 3))) for _ in range(3)]
    for i, one in enumerate(pictures):
        one.save(path / f"{i}.png")
    opaque = read(path)
    layer = Image.new("L", (5, 4), 255)
    layer.putpixel((4, 3), alpha)
    last = pictures[2].copy()
    if mode == "P":  # of two colours, so that the palette keeps the alpha of the second
        last = Image.new("RGB", (5, 4))
        last.putpixel((4, 3), (255, 255, 255))
    last.putalpha(layer)
    if mode == "P":
        last = last.quantize(8, Image.Quantize.FASTOCTREE)
        last.convert("RGB").save(path / "2.png")
        opaque = read(path)
    last.save(path / "2.png")
    with Image.open(path / "2.png") as file:
        assert file.mode == mode
    if alpha == 255:
        assert read(path).digest == opaque.digest
        return
    with pytest.raises(UserError, match=r"^own.mine: 2.png is transparent in places; lay it on a background"):
        read(path)


# ------------------------------------------------------------------------------------------- what may lie in the folder


def test_folders_behind_links_are_read_and_the_log_says_that_dvc_does_not_look_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, other = folder(tmp_path / "pets"), folder(tmp_path / "other", 5)
    (path / "more").symlink_to(other)
    (path / "9.png").symlink_to(other / "4.png")
    digests = _own.digests(path)
    assert list(digests) == [f"pets/{name}" for name in ("0.png", "1.png", "2.png", "9.png")] + [
        f"pets/more/{i}.png" for i in range(5)
    ]
    assert digests["pets/9.png"] == digests["pets/more/4.png"]
    assert len(caplog.messages) == 1
    assert f"pets: 1 of the folders below it are links, the first is {path / 'more'}; DVC" in caplog.text
    _own.copy(path, digests, tmp_path / "raw")
    data = read(tmp_path / "raw/pets")
    assert data.digest == read(path).digest
    assert len(data.X) == 9
    assert data.samples[-1] == "more/4.png"


def dangling(path: Path) -> None:
    (path / "9.png").symlink_to("/nowhere/9.png")


def circle(path: Path) -> None:
    (path / "sub").mkdir()
    (path / "sub/all").symlink_to(path)


def pipe(path: Path) -> None:
    os.mkfifo(path / "9.png")


def named(name: bytes) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        with open(os.path.join(os.fsencode(path), name), "wb") as file:
            image().save(file, "PNG")

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (dangling, "pets/9.png' is a link to nothing; bring back what it stands for, or remove it"),
        (circle, "pets/sub/all is a link back to a folder that it lies in; remove that link"),
        (pipe, "pets/9.png' is no file; bring back"),
        (
            named(b"caf\xe9.png"),
            r"'pets/caf\udce9.png' is not UTF-8 or holds a line break or control character; rename",
        ),
        (named(b"a\nb.png"), r"'pets/a\nb.png' is not UTF-8 or holds a line break"),
        (named(b"a\rb.png"), r"'pets/a\rb.png' is not UTF-8 or holds a line break"),
        (named("a\u2028b.png".encode()), r"'pets/a\u2028b.png' is not UTF-8 or holds a line break"),
    ],
)
def test_an_entry_that_cannot_be_read_as_meant_is_named(
    tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    path = folder(tmp_path / "pets")
    spoil(path)
    for call in (lambda: _own.digests(path), lambda: read(path)):
        with pytest.raises(UserError) as error:
            call()
        assert message in str(error.value)


def test_side_files_are_left_out_and_listed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = folder(tmp_path / "pets", 0)
    for name in ("cats/1.png", "cats/2.png", "dogs/1.png"):
        (path / name).parent.mkdir(exist_ok=True)
        image().save(path / name)
    expected = read(path, labels="folders")
    assert expected.ignored == ()
    for name in ("README", "cats/LABELS.TXT", "meta.json", "dogs/Thumbs.db", ".DS_Store"):
        (path / name).write_text("no image")
    with caplog.at_level(logging.INFO, "deepclust"):
        data = read(path, labels="folders")
    assert data.digest == expected.digest
    assert data.samples == expected.samples
    assert data.ignored == ("README", "cats/LABELS.TXT", "dogs/Thumbs.db", "meta.json")
    assert caplog.messages == [
        "own.mine: 4 files that are no images were left out: README, cats/LABELS.TXT, dogs/Thumbs.db, meta.json"
    ]


@pytest.mark.parametrize("name", ["9.png", "9", "9.eps", "9.psd", "9.npy", "9.zip"])
def test_any_other_file_has_to_be_an_image(tmp_path: Path, name: str) -> None:
    path = folder(tmp_path / "pets")
    (path / name).write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 5\n%%EndComments\n")
    with pytest.raises(UserError, match=rf"^own.mine: {name} is no readable image \(.*\); repair or remove it"):
        read(path)


def test_a_folder_of_side_files_holds_no_images(tmp_path: Path) -> None:
    (folder(tmp_path / "pets", 0) / "README.md").write_text("nothing else")
    with pytest.raises(UserError, match=r"^own.mine: pets holds no images; correct the path"):
        read(tmp_path / "pets")


def test_the_class_is_the_first_folder_whatever_lies_below(tmp_path: Path) -> None:
    path = folder(tmp_path / "pets", 0)
    for name in ("cats/a/1.png", "cats/b/1.png", "cats/2.png", "dogs/a/1.png"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        image().save(path / name)
    data = read(path, labels="folders")
    assert data.samples == ("cats/2.png", "cats/a/1.png", "cats/b/1.png", "dogs/a/1.png")
    assert data.y is not None
    assert data.y.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("given", [{"image_shape": [3, 40, 50]}, {}])
def test_images_beyond_the_memory_are_refused_before_they_are_read(
    tmp_path: Path, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder(tmp_path / "pets")
    free = SimpleNamespace(available=3 * 4 * 20 - 1)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    shape = "3x40x50" if given else "1x4x5"
    with pytest.raises(UserError, match=rf"^own.mine: 3 rows of .* the images are {shape} .* a smaller image_shape$"):
        read(path, **given)
    free.available = 3 * 4 * 20
    if not given:
        assert read(path).X.shape == (3, 20)


def test_a_shape_beyond_all_memory_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^own.mine: 3 rows of 30,000,000,000,000 values take .* GiB in float32, and"):
        read(folder(tmp_path / "pets"), image_shape=[3, 10**6, 10**7])
