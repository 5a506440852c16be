"""Published files: the first source with the expected content wins, and nothing else is ever left in the folder."""

from __future__ import annotations

import gzip
import hashlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deepclust.datasets._sources import PublishedFile, Source, fetch_file
from deepclust.errors import UserError

if TYPE_CHECKING:
    from tests.datasets.conftest import Site

CONTENT = bytes(range(256)) * 40
DIGEST = hashlib.sha256(CONTENT).hexdigest()
PACKED = gzip.compress(CONTENT, mtime=0)
OTHER = b"other content"

# Page served -> what the message must say about it; None is a 404.
BROKEN = {
    "missing": (None, "404"),
    "broken off": (PACKED, "IncompleteRead"),
    "truncated": (PACKED[:-20], "ended before"),
    "corrupted": (PACKED[:-6] + b"\0" + PACKED[-5:], "CRC"),
    "not gzip": (b"<html>Please log in</html>", "Not a gzipped file"),
    "empty": (b"", hashlib.sha256(b"").hexdigest()),
    "wrong": (gzip.compress(OTHER, mtime=0), hashlib.sha256(OTHER).hexdigest()),
}


def published(*urls: str) -> PublishedFile:
    return PublishedFile("digits.bin", DIGEST, tuple(Source(url, gzip.decompress) for url in urls))


def serve_broken(site: Site, fault: str) -> str:
    page = BROKEN[fault][0]
    if page is not None:
        site.pages["/bad/digits.bin.gz"] = page
    if fault == "broken off":
        site.broken_off.add("/bad/digits.bin.gz")
    return f"{site.url}/bad/digits.bin.gz"


def serve_good(site: Site) -> str:
    site.pages["/good/digits.bin.gz"] = PACKED
    return f"{site.url}/good/digits.bin.gz"


def fetch(file: PublishedFile, folder: Path, mirror: Path | str | None = None) -> None:
    fetch_file(file, folder, mirror=mirror, mirror_folder="toy")


def test_content_is_stored_decoded_and_alone(tmp_path: Path, site: Site) -> None:
    fetch(published(serve_good(site)), tmp_path / "new" / "folder")
    (path,) = (tmp_path / "new" / "folder").iterdir()
    assert path.name == "digits.bin"
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_source_is_passed_over(tmp_path: Path, site: Site, fault: str) -> None:
    fetch(published(serve_broken(site, fault), serve_good(site)), tmp_path)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [CONTENT]
    assert site.requests == ["/bad/digits.bin.gz", "/good/digits.bin.gz"]


@pytest.mark.parametrize("fault", BROKEN)
def test_one_line_names_file_source_digest_and_remedy(tmp_path: Path, site: Site, fault: str) -> None:
    url = serve_broken(site, fault)
    with pytest.raises(UserError) as caught:
        fetch(published(url), tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    for part in ("toy/digits.bin", url, BROKEN[fault][1], DIGEST, "data.mirror", "DEEPCLUST_MIRROR"):
        assert part in message
    assert list(tmp_path.iterdir()) == []


def test_every_failed_source_is_named(tmp_path: Path, site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        refusing = f"http://127.0.0.1:{closed.getsockname()[1]}/digits.bin.gz"
    with pytest.raises(UserError) as caught:
        fetch(published(serve_broken(site, "wrong"), refusing), tmp_path, mirror=tmp_path / "nowhere")
    lost = f"the mirror {tmp_path / 'nowhere'} is no folder"
    for part in ("/bad/digits.bin.gz", refusing, "nowhere/toy/digits.bin.gz", "nowhere/toy/digits.bin:", lost):
        assert part in str(caught.value)


def test_file_without_source_asks_for_a_mirror(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"DEEPCLUST_MIRROR.*toy/.*it has no source"):
        fetch(published(), tmp_path)


def test_verified_file_is_not_fetched_again(tmp_path: Path, site: Site) -> None:
    file = published(serve_good(site))
    fetch(file, tmp_path)
    fetch(file, tmp_path)
    assert len(site.requests) == 1


@pytest.mark.parametrize("damaged", [CONTENT[:-1], b"", OTHER], ids=["cut", "empty", "another"])
def test_damaged_file_is_replaced(tmp_path: Path, site: Site, damaged: bytes) -> None:
    (tmp_path / "digits.bin").write_bytes(damaged)
    fetch(published(serve_good(site)), tmp_path)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [CONTENT]


def test_damaged_file_is_removed_where_no_source_helps(tmp_path: Path, site: Site) -> None:
    (tmp_path / "digits.bin").write_bytes(OTHER)
    with pytest.raises(UserError, match="toy/digits"):
        fetch(published(f"{site.url}/digits.bin.gz"), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "stored"), [("digits.bin.gz", PACKED), ("digits.bin", CONTENT)], ids=["packed", "plain"]
)
@pytest.mark.parametrize("kind", ["folder", "url", "url with slash"])
def test_mirror_comes_before_the_sources(tmp_path: Path, site: Site, kind: str, name: str, stored: bytes) -> None:
    held = tmp_path / "a mirror" / "toy" / name  # the space must survive the way through a URL
    held.parent.mkdir(parents=True)
    held.write_bytes(stored)
    site.pages[f"/mirror/toy/{name}"] = stored
    mirrors: dict[str, Path | str] = {
        "folder": tmp_path / "a mirror",
        "url": f"{site.url}/mirror",
        "url with slash": f"{site.url}/mirror/",
    }
    fetch(published(serve_good(site)), tmp_path / "raw", mirror=mirrors[kind])
    assert (tmp_path / "raw" / "digits.bin").read_bytes() == CONTENT
    assert "/good/digits.bin.gz" not in site.requests


def test_damaged_mirror_gives_way_to_the_sources(tmp_path: Path, site: Site) -> None:
    held = tmp_path / "mirror" / "toy" / "digits.bin.gz"
    held.parent.mkdir(parents=True)
    held.write_bytes(PACKED[:-9])
    fetch(published(serve_good(site)), tmp_path / "raw", mirror=tmp_path / "mirror")
    assert (tmp_path / "raw" / "digits.bin").read_bytes() == CONTENT
