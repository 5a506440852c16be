"""Pretrain one network on one data set with every seed: weights shared by all methods that read this network."""

import sys
from typing import Any

from deepclust import instructions, layout, nets
from deepclust.files import read_json, read_samples, sha256, write_text
from deepclust.integrity import intact
from deepclust.methods._saving import versions
from deepclust.runs import Seed, run_seeds
from deepclust.script import run_as_script
from deepclust.seeding import derive_seed
from deepclust.training.checkpoint import save_tensors
from deepclust.training.pretrain import pretrain
from deepclust.training.rows import on_device
from deepclust.training.runtime import Runtime

import pandas as pd


def main(dataset: str, name: str) -> None:
    asked, facts = layout.plan(dataset, "pretrain", name), layout.prepared(dataset) / "meta.json"
    samples = layout.prepared(dataset) / "X.npy"
    intact(asked, facts, samples)
    plan, meta = read_json(asked), read_json(facts)
    shape = tuple(meta["image_shape"]) if meta["image_shape"] else None
    compute = plan["compute"]
    instructions.agree(compute["instructions"])
    X = on_device(read_samples(samples), compute["device"])
    n_in_parallel = len(plan["seeds"]) if X.is_cuda else 1  # one training leaves most of a GPU idle
    progress = n_in_parallel == 1 and sys.stderr.isatty()
    settings = nets.make(plan["uses"], plan["settings"])

    def body(seed: Seed) -> dict[str, Any]:
        with Runtime(compute["threads"], compute["precision"], seed.checkpoints, progress).open():
            network, outcome = pretrain(X, settings, seed=derive_seed(seed.number, dataset, name), image_shape=shape)
        save_tensors(seed.results / "weights.safetensors", network.state_dict())
        write_text(seed.results / "trace.csv", pd.DataFrame(outcome.trace).to_csv(index=False, lineterminator="\n"))
        n_epochs = sum(row["phase"] == "pretrain" for row in outcome.trace)
        about = {"n_features": X.shape[1], "image_shape": shape, "n_iter": outcome.n_iter, "n_epochs": n_epochs}
        return about | {"device": X.device.type, "versions": versions("numpy", "torch")}

    digest = sha256(samples)
    with Runtime(compute["threads"], compute["precision"]).open():  # around all seeds, as these may run in threads
        run_seeds(
            plan,
            output=layout.network(dataset, name),
            work=layout.work("pretrain", dataset, name),
            inputs=lambda _: {"X": digest},
            body=body,
            n_in_parallel=n_in_parallel,
        )


if __name__ == "__main__":
    run_as_script(main)
