"""Read a data set's files into X (N, D) float32 in [0, 1], y (N,) int64 and meta.json: here data and labels part."""

from pathlib import Path

from deepclust import datasets
from deepclust.errors import UserError, run_as_script
from deepclust.files import write_array, write_json


def main(name: str) -> None:
    data = datasets.prepare(name, Path("data/raw") / name)
    if data.y is None:
        raise UserError(f"data set '{name}' has no labels, which evaluation needs; give its reader the labels")
    folder = Path("data/prepared") / name
    write_array(folder / "X.npy", data.X)
    write_array(folder / "y.npy", data.y)
    n_samples, n_features = data.X.shape
    meta = {"n": n_samples, "d": n_features, "k": data.n_clusters, "image_shape": data.image_shape}
    write_json(folder / "meta.json", meta | {"digest": data.digest, "source": data.source})


if __name__ == "__main__":
    run_as_script(main)
