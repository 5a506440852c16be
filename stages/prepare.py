"""Read a data set's files into X (N, D) in [0, 1], y (N,) int64 and meta.json: labels leave the data here.

X is float32, or float16 where own data say so. Unlabelled data have an empty y. A data set that is a graph alone has X
of shape (N, 0), and its edge weights (N, N) in edges.npz, which holds no edges for others. The names of the samples go
with y, since an image's folder may be its label. meta.json lists files that are no images and were left out, where
there are any.
"""

import shutil
from dataclasses import replace

from deepclust import datasets, layout
from deepclust.datasets import _own
from deepclust.files import read_json, write_array, write_json, write_sparse, write_text
from deepclust.integrity import intact
from deepclust.script import run_as_script

import numpy as np
import scipy.sparse as sp


def main(name: str) -> None:
    raw = layout.raw(name)
    intact(layout.plan(name, "prepare"), raw)
    plan = read_json(layout.plan(name, "prepare"))
    if "own" in plan:
        data = _own.prepare(name, raw / plan["own"]["file"], **plan["own"]["settings"])
        digest = replace(data, y=None).digest  # labels that the user corrects reach the evaluation alone
    else:
        data = datasets.prepare(name, raw)
        digest = data.digest
    folder = layout.prepared(name)
    shutil.rmtree(folder, ignore_errors=True)  # DVC deletes outputs, but not a killed run's half-written file
    write_array(folder / "X.npy", data.X)
    write_array(folder / "y.npy", np.empty(0, np.int64) if data.y is None else data.y)
    names = data.samples or range(len(data.X))  # numbers where there are none: DVC warns of every empty file
    write_text(folder / "samples.txt", "".join(f"{name}\n" for name in names))
    n_samples, n_features = data.X.shape
    write_sparse(folder / "edges.npz", sp.csr_matrix((n_samples, n_samples)) if data.graph is None else data.graph)
    meta = {"n": n_samples, "d": n_features, "k": data.n_clusters, "image_shape": data.image_shape}
    ignored = {"ignored": data.ignored} if data.ignored else {}
    write_json(folder / "meta.json", meta | {"digest": digest, "source": data.source} | ignored)


if __name__ == "__main__":
    run_as_script(main)
