"""Folders of images. Bits, channels, transparency and frames are judged from the file: Pillow reduces them silently."""

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from deepclust.datasets._own.content import ARRAYS, Read, files_of, require_memory
from deepclust.errors import UserError

# Formats of which it is known what a file can hold: `_bits` tells how deep an image is. Others are refused.
_FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "SGI", "TGA", "TIFF", "WEBP")
# Files that lie beside images in published data; all others have to be images.
_SIDE_SUFFIXES = (".txt", ".md", ".rst", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".html", ".pdf")
_SIDE_NAMES = ("readme", "license", "licence", "thumbs.db", "desktop.ini")


def read(at: str, path: Path, shape: tuple[int, ...] | None, *, by_folder: bool) -> Read:
    """Return the images below a folder as float32 in [0, 1], one a row in the order of their places."""
    places = [file.relative_to(path) for file in files_of(path)]
    ignored = [place.as_posix() for place in places if _is_aside(place)]
    places = [place for place in places if not _is_aside(place)]
    common, X = shape, _room(at, len(places), shape) if shape else None
    for row, place in enumerate(places):
        if by_folder and len(place.parts) < 2:
            raise UserError(f"{at}: {place} lies in no sub-folder, which would be its label; move it into one")
        pixels = _pixels(f"{at}: {place}", path / place, shape)
        if common is None or X is None:
            common, X = pixels.shape, _room(at, len(places), pixels.shape)
        if pixels.shape != common:
            raise UserError(
                f"{at}: {place} is {_by(pixels.shape)} (channels x height x width), {places[0]} is {_by(common)}; set "
                "image_shape to bring all to one"
            )
        X[row] = pixels.ravel()
    if X is None:
        raise UserError(f"{at}: {path.name} holds no images; correct the path")
    X /= np.float32(255)
    labels = np.unique([place.parts[0] for place in places], return_inverse=True) if by_folder else None
    names = tuple(place.as_posix() for place in places)
    return Read([X], labels, samples=names, image_shape=common, ignored=tuple(ignored))


def _is_aside(place: Path) -> bool:
    return place.suffix.lower() in _SIDE_SUFFIXES or place.name.lower() in _SIDE_NAMES


def _room(at: str, n_images: int, shape: tuple[int, ...]) -> np.ndarray:
    D = math.prod(shape)
    remedy = f"the images are {_by(shape)} (channels x height x width), so set a smaller image_shape"
    require_memory(at, n_images, D, remedy)
    return np.empty((n_images, D), np.float32)


def _pixels(where: str, path: Path, shape: tuple[int, ...] | None) -> np.ndarray:
    """Return an image upright as (channels, height, width) uint8: grey as one channel, everything else as RGB."""
    try:
        with Image.open(path, formats=_FORMATS) as file:
            if fault := _fault(file, path):
                raise UserError(f"{where} {fault}")
            image = ImageOps.exif_transpose(file)
            if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
                raise UserError(f"{where} is transparent in places; lay it on a background and save it without alpha")
            image.info.pop("transparency", None)  # of a palette, of which Pillow would warn
            channels = shape[0] if shape else 1 if image.mode in ("1", "L", "LA") else 3
            image = image.convert("L" if channels == 1 else "RGB")
            if shape:
                image = image.resize((shape[2], shape[1]), Image.Resampling.BILINEAR)
    except UserError:
        raise
    except Exception as error:  # decoders of damaged files raise anything
        remedy = "repair or remove it"
        remedy += ", or say under array which file holds the features" if path.suffix.lower() in ARRAYS else ""
        raise UserError(f"{where} is no readable image ({' '.join(str(error).split())}); {remedy}") from None
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _fault(image: Image.Image, path: Path) -> str | None:
    """Return what of an image would be lost: bits, channels or frames."""
    if (bits := _bits(image, path)) > 8 or image.mode.startswith(("I", "F")):
        return f"has more than 8 bits a channel ({bits if bits > 8 else f'mode {image.mode}'}); save it with 8"
    channels = image.tag_v2.get(277, 1) if image.format == "TIFF" else 1  # type: ignore[attr-defined]  # SamplesPerPixel
    if channels > len(image.getbands()):
        return f"has {channels} channels, of which {image.mode} keeps {len(image.getbands())}; save it as grey or RGB"
    if (n_frames := getattr(image, "n_frames", 1)) > 1:
        return f"holds {n_frames} images (frames or pages); save each as a file of its own, or only the one that counts"
    return None


def _bits(image: Image.Image, path: Path) -> int:
    """Return the bits a channel has in the file, as its header says; 8 where its format has no more."""
    if image.format == "PNG":
        head = _head(path, 25)
        if head[12:16] != b"IHDR":
            raise ValueError("its first chunk is not IHDR")
        return head[24]
    if image.format == "TIFF":
        return int(max(image.tag_v2.get(258, (1,))))  # type: ignore[attr-defined]  # BitsPerSample
    if image.format == "PPM":
        arguments = image.tile[0].args  # type: ignore[attr-defined]
        largest = arguments[1] if isinstance(arguments, tuple) and len(arguments) == 2 else 255
        return int(largest).bit_length()
    if image.format == "SGI":
        return 8 * _head(path, 4)[3]
    if image.format == "JPEG2000":  # a component in three bytes, from 42 behind the start of the codestream
        content = path.read_bytes()
        start = content.index(b"\xff\x4f\xff\x51") + 42
        return max(1 + (content[start + 3 * i] & 0x7F) for i in range(len(image.getbands())))
    if image.format == "AVIF":  # the second and third bit of the configuration's third byte: 10 and 12 bits
        content = path.read_bytes()
        return 10 if content[content.index(b"av1C") + 6] & 0x60 else 8
    return 8


def _head(path: Path, size: int) -> bytes:
    with open(path, "rb") as file:
        return file.read(size)


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
