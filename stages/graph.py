"""Build a data set's nearest-neighbour graph, its Gaussian weights and its normalised Laplacian."""

from deepclust import instructions, layout
from deepclust.files import read_json, read_samples, write_json, write_sparse
from deepclust.graph.knn import knn_graph
from deepclust.graph.laplacian import laplacian
from deepclust.graph.weights import gaussian_weights, summary
from deepclust.integrity import intact
from deepclust.script import run_as_script
from deepclust.seeding import derive_seed

from threadpoolctl import threadpool_limits


def main(dataset: str) -> None:
    samples = layout.prepared(dataset) / "X.npy"
    intact(layout.plan(dataset, "graph"), samples)
    plan = read_json(layout.plan(dataset, "graph"))
    settings, compute = plan["settings"], plan["compute"]
    instructions.agree(compute["instructions"])
    X = read_samples(samples)
    device = None
    if compute["device"] not in ("cpu", "mps"):
        from deepclust.training.runtime import resolve_device

        device = resolve_device(compute["device"])
    with threadpool_limits(compute["threads"]):
        knn = knn_graph(
            X,
            settings["n_neighbors"],
            exact=settings["exact"],
            device=device,
            random_state=derive_seed(0, dataset, "graph"),
        )
        W = gaussian_weights(knn, bandwidth=settings["bandwidth"], symmetrize=settings["symmetrize"])
    folder = layout.graph(dataset)
    write_sparse(folder / "knn.npz", knn)
    write_sparse(folder / "weights.npz", W)
    write_sparse(folder / "laplacian.npz", laplacian(W))
    write_json(folder / "meta.json", summary(knn, W, bandwidth=settings["bandwidth"]))


if __name__ == "__main__":
    run_as_script(main)
