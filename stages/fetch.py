"""Put a data set's files, published ones or the user's own, verified into data/raw/DATASET."""

import os
import shutil

from deepclust import datasets, layout
from deepclust.datasets import _own
from deepclust.files import read_json, read_yaml
from deepclust.integrity import intact
from deepclust.script import run_as_script


def main(dataset: str) -> None:
    intact(layout.plan(dataset, "fetch"))
    plan = read_json(layout.plan(dataset, "fetch"))
    if "own" in plan:
        _own.copy(plan["own"]["path"], plan["own"]["files"], layout.raw(dataset))
        return
    # Downloads stay in work/: they outlive a killed run, and DVC's emptying of data/raw/DATASET before this stage.
    downloads = layout.DOWNLOADS / dataset
    mirror = os.environ.get("DEEPCLUST_MIRROR") or (read_yaml(layout.PARAMS).get("data") or {}).get("mirror")
    datasets.fetch(dataset, downloads, mirror)
    halves = shutil.ignore_patterns(".*.tmp")  # of a killed run, or of another grid's that downloads now
    shutil.copytree(downloads, layout.raw(dataset), dirs_exist_ok=True, ignore=halves)


if __name__ == "__main__":
    run_as_script(main)
