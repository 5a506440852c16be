"""The share of the largest singular value of each cluster's codes, by class, beside the numbers that PC-X prints.

PC-X names its clusters by the classes they are (Table 7). A run has the shares by cluster, `singular_values.csv`; its
evaluation, which alone has classes, names them and keeps them with the scores of the seed.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepclust import files
from deepclust.metrics import match

FILE = "singular_values.csv"
METRIC = "largest singular value share"  # its name among the published numbers
_WHEN = ("before", "after")  # the fusion: columns of FILE, and words of the published rows' names


def by_class(y: np.ndarray | None, labels: np.ndarray, table: pd.DataFrame) -> dict[str, float]:
    """Return the shares of a seed, in percent, as `share_before_3` for class 3 and `share_before_mean` for all.

    Parameters
    ----------
    y, labels
        Classes (N,), None where there are none, and clusters (N,). A cluster bears the class that it is matched with.
    table
        One row a cluster: `cluster`, `before` and `after`, nan without codes: such a cluster is in no mean.
    """
    classes = {} if y is None else dict(zip(labels.tolist(), match(y, labels).tolist(), strict=True))
    found: dict[str, float] = {}
    for when in _WHEN:
        shares = table.set_index("cluster")[when].dropna()
        found |= {f"share_{when}_{classes[k]}": float(share) for k, share in shares.items() if k in classes}
        if len(shares):
            found[f"share_{when}_mean"] = float(shares.mean())
    return found


def compare(root: Path | str, cells: Mapping[str, Collection[str]], reported: pd.DataFrame) -> pd.DataFrame:
    """Return the published shares that the grid has, beside ours: the columns of `aggregate.compare`.

    `root` is the folder of the grid's reports, `cells` has the grid's cells by their data set. `setting` is what the
    paper says of the number: `digit 3`, `digit mean`. Ours are means over the `n` seeds that have this share.
    """
    places = zip(reported["dataset"], reported["method_id"], strict=True)
    here = np.array([cell in cells.get(dataset, ()) for dataset, cell in places], dtype=bool)
    rows = reported[(reported["metric"] == METRIC) & here]
    rows = rows.rename(columns={"value": "reported", "std": "reported_std", "method_id": "cell", "note": "setting"})
    ours = [_ours(Path(root, "scores"), row) for row in rows.to_dict("records")]
    rows = rows.loc[np.array([bool(values) for values in ours], dtype=bool)]
    ours = [values for values in ours if values]
    rows["reproduced"] = [np.mean(values) for values in ours]
    rows["std"] = [np.std(values, ddof=1) if len(values) > 1 else np.nan for values in ours]
    rows["n"] = [len(values) for values in ours]
    rows["difference"] = rows["reproduced"] - rows["reported"]
    rows = rows.assign(failed=0, status="ok", reason="", note="").drop(columns="unit")
    return rows.astype({"n": int, "failed": int})  # without rows, too, so that counts stay counts beside others


def _ours(scores: Path, row: Mapping[Any, Any]) -> list[float]:
    """Return our values of a published share, one for each seed that has it."""
    path = scores / row["dataset"] / f"{row['cell']}.json"
    seeds = files.read_json(path)[row["cell"]].values() if path.exists() else ()
    when = next(word for word in _WHEN if word in row["method"].split())
    key = f"share_{when}_{row['setting'].split()[-1]}"
    return [seed[key] for seed in seeds if key in seed]
