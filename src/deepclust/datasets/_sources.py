"""Published files: their sources, decoding, and the proof that their content is the expected one.

The decoded content is verified and kept. Sources compress the same content in different ways. A raw folder of decoded
files is therefore a function of the data set alone, not of the source or mirror.
"""

import hashlib
import http.client
import logging
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from deepclust import files
from deepclust.errors import UserError

_log = logging.getLogger(__name__)

_TIMEOUT = 30  # seconds without a byte, not for a whole file

# Raised by a source that is unreachable, truncated or of another format, from opening to decoding.
_FAILURES = (OSError, EOFError, ValueError, LookupError, zlib.error, zipfile.BadZipFile, http.client.HTTPException)


@dataclass(frozen=True)
class Source:
    """One place that publishes a file, and the function from the bytes found there to the file's content."""

    url: str
    decode: Callable[[bytes], bytes] = bytes


@dataclass(frozen=True)
class PublishedFile:
    """A file of a data set: its name in the raw folder, the SHA-256 of its content, and its sources in order."""

    name: str
    sha256: str
    sources: tuple[Source, ...] = ()

    def candidates(self, mirror: Path | str | None, mirror_folder: str) -> list[Source]:
        """Return every place to try, in order: in the mirror as each source names it and decoded, then the sources."""
        if mirror is None:
            return list(self.sources)
        base = str(mirror) if "://" in str(mirror) else Path(mirror).expanduser().resolve().as_uri()
        base = f"{base.rstrip('/')}/{mirror_folder}"
        mirrored = [Source(f"{base}/{PurePosixPath(urlsplit(s.url).path).name}", s.decode) for s in self.sources]
        return list(dict.fromkeys([*mirrored, Source(f"{base}/{self.name}"), *self.sources]))


def fetch_file(file: PublishedFile, folder: Path, *, mirror: Path | str | None, mirror_folder: str) -> None:
    """Put `file` into `folder` from the first candidate with the expected content, unless it is there already.

    The content is verified in memory (a prepared data set is larger than its files) before anything is written.

    Raises
    ------
    UserError
        No candidate has the expected content; the message names each, with the reason.
    """
    path = folder / file.name
    if path.exists() and files.sha256(path) == file.sha256:
        return
    problems = []
    for source in file.candidates(mirror, mirror_folder):
        try:
            content = source.decode(_read(source.url))
        except _FAILURES as error:
            problem = str(error) or type(error).__name__
        else:
            digest = hashlib.sha256(content).hexdigest()
            if digest == file.sha256:
                with files.atomic(path) as out:
                    out.write(content)
                _log.info("%s: verified content from %s", path, source.url)
                return
            problem = f"wrong content, sha256 {digest}"
        problems.append(f"{source.url}: {problem}")
        _log.info("%s: %s", path, problems[-1])
    path.unlink(missing_ok=True)
    lost = mirror is not None and "://" not in str(mirror) and not Path(mirror).expanduser().is_dir()
    raise UserError(
        f"{mirror_folder}/{file.name}: {f'the mirror {mirror} is no folder, and ' if lost else ''}no source has the "
        "expected content; replace a broken copy, or set data.mirror or DEEPCLUST_MIRROR to a folder or URL that holds "
        f"it under {mirror_folder}/. Expected: sha256 {file.sha256}; found: {'; '.join(problems) or 'it has no source'}"
    )


def _read(url: str) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "deepclust"})
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
        content: bytes = response.read()
    return content
