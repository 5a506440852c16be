"""Build a data set's nearest-neighbour graph, its Gaussian weights and its normalised Laplacian.

A data set that is a graph alone keeps the weights it came with, and `graph` in params.yaml has no part in them.
"""

from deepclust import instructions, layout
from deepclust.files import read_json, read_samples, read_sparse, write_json, write_sparse
from deepclust.graph.knn import knn_graph
from deepclust.graph.laplacian import laplacian
from deepclust.graph.weights import gaussian_weights, summary
from deepclust.integrity import intact
from deepclust.script import run_as_script
from deepclust.seeding import derive_seed

from threadpoolctl import threadpool_limits


def main(dataset: str) -> None:
    samples, edges = layout.prepared(dataset) / "X.npy", layout.prepared(dataset) / "edges.npz"
    intact(layout.plan(dataset, "graph"), samples, edges)
    plan = read_json(layout.plan(dataset, "graph"))
    settings, compute = plan["settings"], plan["compute"]
    instructions.agree(compute["instructions"])
    folder, knn, W = layout.graph(dataset), None, read_sparse(edges)
    if not W.nnz:
        X = read_samples(samples)
        device = None
        if settings["exact"] and compute["device"] not in ("cpu", "mps"):
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
        write_sparse(folder / "knn.npz", knn)
    write_sparse(folder / "weights.npz", W)
    write_sparse(folder / "laplacian.npz", laplacian(W))
    write_json(folder / "meta.json", summary(knn, W, bandwidth=settings["bandwidth"]))


if __name__ == "__main__":
    run_as_script(main)
