"""The results of a fitted method as files, which the evaluation and the figures read; the model is not among them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from deepclust.errors import UserError
from deepclust.files import write_array, write_sparse, write_text
from deepclust.methods._saving import versions

_OWN = ("labels", "embedding", "trace", "run", "model", "readouts")  # names that no extra may have


def write(method: Any, folder: Path) -> dict[str, Any]:
    """Write a fitted method's results, except its model; return the method's part of the seed's record."""
    write_array(folder / "labels.npy", method.labels_)
    if hasattr(method, "embedding_"):
        write_array(folder / "embedding.npy", method.embedding_)
    about: dict[str, Any] = {}
    if hasattr(method, "trace_"):
        about["n_epochs"] = sum(row["loss"] is not None for row in method.trace_)
        write_text(folder / "trace.csv", pd.DataFrame(method.trace_).to_csv(index=False, lineterminator="\n"))
    for name, labels in getattr(method, "readouts_", {}).items():
        write_array(folder / "readouts" / f"{name}.npy", labels)
    for name, value in getattr(method, "extras_", {}).items():
        if name in _OWN:
            raise UserError(f"{type(method).__name__} has extras_[{name!r}], which is a file of its own; rename it")
        if isinstance(value, pd.DataFrame):
            write_text(folder / f"{name}.csv", value.to_csv(index=False, lineterminator="\n"))
        elif isinstance(value, sp.csr_matrix):
            write_sparse(folder / f"{name}.npz", value)
        else:
            write_array(folder / f"{name}.npy", value)
    return about | {
        "n_clusters": method.n_clusters,
        "n_clusters_found": len(np.unique(method.labels_)),
        "n_iter": method.n_iter_,
        "converged": method.converged_,
        "device": getattr(method, "device_", "cpu"),
        "versions": versions(*method.libraries),
    }
