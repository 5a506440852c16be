"""Reuters10k anew: 10,000 news stories in 4 topics, drawn from RCV1 by a stated rule in the manner of DEC.

The papers' own sample is published by VaDE's authors (`reuters10k`). This one is made of the files that scikit-learn's
`fetch_rcv1` downloads, with its checksums, and without the pickles that `fetch_rcv1` keeps. The rule:

1. Stories with exactly one of the four root topics CCAT, ECAT, GCAT and MCAT, in the order of their numbers.
2. The 2,000 stems that most of these stories have; among equally frequent ones those of smaller number.
3. 10,000 stories drawn without replacement by NumPy's generator of seed 0.
4. Weights are those of the files, (1 + log frequency) times the inverse document frequency, each story scaled to unit
   length over the chosen stems, then all divided by the largest value.

DEC counts a stem's occurrences where rule 2 counts stories, and draws with another generator.
"""

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from deepclust.datasets._base import DatasetSpec
from deepclust.datasets._sources import PublishedFile, Source

_ROOTS = ("CCAT", "ECAT", "GCAT", "MCAT")
_STEMS = 47_236  # in the files


def _read(topics: Path, *vectors: Path) -> tuple[np.ndarray, np.ndarray]:
    return draw(topics, vectors, n_stories=10_000, n_stems=2_000)


def draw(topics: Path, vectors: Sequence[Path], *, n_stories: int, n_stems: int) -> tuple[np.ndarray, np.ndarray]:
    """Return X (N, D) and the root topics (N,) by the rule above, N = `n_stories` and D = `n_stems`."""
    from sklearn.datasets import load_svmlight_file
    from sklearn.preprocessing import normalize

    with gzip.open(topics, "rt", encoding="ascii") as lines:
        given = [(int(story), topic) for topic, story, _ in map(str.split, lines) if topic in _ROOTS]
    stories, place, counts = np.unique([story for story, _ in given], return_inverse=True, return_counts=True)
    roots = np.empty(len(stories), "<U4")
    roots[place] = [topic for _, topic in given]
    stories, roots = stories[counts == 1], roots[counts == 1]

    parts, numbers = [], []
    for path in vectors:
        weights, number = load_svmlight_file(str(path), n_features=_STEMS, dtype=np.float32, zero_based=False)
        kept = np.isin(number, stories)
        parts.append(weights[kept])
        numbers.append(number[kept].astype(np.int64))
    number = np.concatenate(numbers)
    order = np.argsort(number)
    weights, number = sp.csr_matrix(sp.vstack(parts))[order], number[order]

    frequency = np.bincount(weights.indices, minlength=_STEMS)
    stems = np.sort(np.argsort(-frequency, kind="stable")[:n_stems])
    rows = np.sort(np.random.default_rng(0).choice(len(number), n_stories, replace=False))
    X = normalize(weights[rows][:, stems]).toarray()
    return X / X.max(), roots[np.searchsorted(stories, number[rows])]


def _published(name: str, number: int, sha256: str) -> PublishedFile:
    return PublishedFile(f"{name}.gz", sha256, (Source(f"https://ndownloader.figshare.com/files/{number}"),))


SPEC = DatasetSpec(
    n_clusters=4,
    image_shape=None,
    source="http://jmlr.csail.mit.edu/papers/volume5/lewis04a/",
    files=(
        _published("rcv1v2.topics.qrels", 5976048, "2a98e5e5d8b770bded93afc8930d88299474317fe14181aee1466cc754d0d1c1"),
        _published(
            "lyrl2004_vectors_train.dat", 5976057, "5468f656d0ba7a83afc7ad44841cf9a53048a5c083eedc005dcdb5cc768924ae"
        ),
        _published(
            "lyrl2004_vectors_test_pt0.dat", 5976069, "ed40f7e418d10484091b059703eeb95ae3199fe042891dcec4be6696b9968374"
        ),
        _published(
            "lyrl2004_vectors_test_pt1.dat", 5976066, "87700668ae45d45d5ca1ef6ae9bd81ab0f5ec88cc95dcef9ae7838f727a13aa6"
        ),
        _published(
            "lyrl2004_vectors_test_pt2.dat", 5976063, "48143ac703cbe33299f7ae9f4995db49a258690f60e5debbff8995c34841c7f5"
        ),
        _published(
            "lyrl2004_vectors_test_pt3.dat", 5976060, "dfcb0d658311481523c6e6ca0c3f5a3e1d3d12cde5d7a8ce629a9006ec7dbb39"
        ),
    ),
    read=_read,
)
