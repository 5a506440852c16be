"""The choice of K: criteria against scikit-learn's and naive formulas, fits against a method's own, the rules."""

import functools
import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, calinski_harabasz_score, davies_bouldin_score, silhouette_score

from deepclust import selection
from deepclust.errors import NotApplicable, SeedFailed, UserError
from deepclust.graph.partition import partition
from deepclust.methods import load
from deepclust.methods._graph_cuts import neighbour_graph
from deepclust.selection import CRITERIA, choose, fit_auto, judged, suggest_n_clusters, sweep
from deepclust.training import pretrain as pretraining

TINY = {"hidden": [8], "n_embedding": 3, "epochs": 2, "batch_size": 16}
X = np.random.default_rng(0).random((40, 4))


def kmeans(**settings: Any) -> Any:
    return load("kmeans")(**{"n_init": 1} | settings)


def blobs(K: int, n_each: int, n_features: int = 5, seed: int = 0) -> np.ndarray:
    """Return groups that lie ten times farther apart than they are wide."""
    rng = np.random.default_rng(seed)
    centers = 10 * np.eye(K, n_features) + 10 * np.arange(K)[:, None]
    return np.repeat(centers, n_each, axis=0) + rng.normal(0, 1, (K * n_each, n_features))


def cliques(K: int, size: int) -> sp.csr_matrix:
    return sp.csr_matrix(np.kron(np.eye(K), 1 - np.eye(size)))


# ----------------------------------------------------------------------------------------------- the graph's modularity


@pytest.mark.parametrize("K", [1, 2, 7])
def test_separate_groups_are_counted(K: int) -> None:
    found = suggest_n_clusters(np.empty((6 * K, 0)), graph=cliques(K, 6))
    assert found.n_clusters == K
    assert found.modularity == pytest.approx(1 - 1 / K)  # of K equal groups without an edge between them
    assert found.tried[1] == pytest.approx(0, abs=1e-12)


def test_the_search_finds_what_all_k_would_give(monkeypatch: pytest.MonkeyPatch) -> None:
    W = neighbour_graph(np.random.default_rng(0).random((24, 3)), 3)
    of_graph = functools.cache(lambda K: partition(W, K))
    monkeypatch.setattr(selection, "partition", lambda _, K, **__: of_graph(K))
    every = {K: of_graph(K).modularity for K in range(1, 9)}
    found = suggest_n_clusters(np.empty((24, 0)), graph=W.toarray())
    assert found.n_clusters == max(every, key=lambda K: every[K])
    assert found.tried == {K: of_graph(K).modularity for K in sorted(found.tried)}
    assert found.n_clusters < 8
    values = [found.tried[K] for K in found.runners_up]
    assert values == sorted(values, reverse=True)
    assert set(found.runners_up) == set(found.tried) - {found.n_clusters}


def test_the_graph_is_that_of_ten_neighbours_of_sparse_samples_too() -> None:
    few = X[:14]
    expected = suggest_n_clusters(few, graph=neighbour_graph(few, 10))
    assert suggest_n_clusters(few) == suggest_n_clusters(sp.csr_matrix(few)) == expected


def test_a_graph_without_edges_is_refused() -> None:
    with pytest.raises(UserError, match=r"^graph must have an edge, got none"):
        suggest_n_clusters(X, graph=sp.csr_matrix((40, 40)))


def test_a_method_is_fitted_with_the_k_that_was_found() -> None:
    samples = blobs(4, 11)
    method = kmeans(random_state=3)
    found = fit_auto(method, samples)
    assert found.n_clusters == 4
    assert (found.labels_ == kmeans(random_state=3, n_clusters=4).fit(samples).labels_).all()
    assert method.n_clusters == 8
    assert not hasattr(method, "labels_")
    W = neighbour_graph(samples, 5)
    cut = load("sc_ncut")(random_state=0)
    found = fit_auto(cut, samples, graph=W)
    assert (found.labels_ == load("sc_ncut")(found.n_clusters, random_state=0).fit(samples, graph=W).labels_).all()


# ------------------------------------------------------------------------------------------------------ a range of K


def test_criteria_equal_their_formulas() -> None:
    table = sweep(kmeans(), X, [2, 5], seeds=[4, 1, 6]).table
    W = neighbour_graph(X, 10).toarray()
    degrees = W.sum(axis=1)
    labels = {(K, seed): kmeans(n_clusters=K, random_state=seed).fit(X).labels_ for K in (2, 5) for seed in (1, 4, 6)}
    assert list(zip(table["n_clusters"], table["seed"], strict=True)) == sorted(labels)
    for row, (K, seed) in zip(table.to_dict("records"), sorted(labels), strict=True):
        own = labels[K, seed]
        same = np.equal.outer(own, own)
        others = [adjusted_rand_score(own, labels[K, other]) for other in (1, 4, 6) if other != seed]
        expected = {
            "silhouette": silhouette_score(X, own),
            "calinski_harabasz": calinski_harabasz_score(X, own),
            "davies_bouldin": davies_bouldin_score(X, own),
            "modularity": ((W - np.outer(degrees, degrees) / degrees.sum()) * same).sum() / degrees.sum(),
            "stability": np.mean(others),
        }
        assert {name: row[name] for name in CRITERIA} == pytest.approx(expected, rel=1e-6)
        assert (row["n_clusters_found"], row["failed"]) == (K, "")
    pairs = [adjusted_rand_score(labels[5, a], labels[5, b]) for a, b in itertools.combinations((1, 4, 6), 2)]
    assert table[table["n_clusters"] == 5]["stability"].mean() == pytest.approx(np.mean(pairs))


@pytest.mark.parametrize(("name", "shape"), [("idec", None), ("decs", (1, 2, 2)), ("decs", None)])
def test_a_network_is_pretrained_once_a_seed_and_fits_are_the_methods_own(
    name: str, shape: tuple[int, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    real = pretraining.pretrain

    def counted(*given: Any, **settings: Any) -> Any:
        calls.append(settings["seed"])
        return real(*given, **settings)

    small = {"channels": [2, 3], "epochs": 1, "batch_size": 16} if shape else TINY
    method = load(name)(pretraining=small, epochs=1, device="cpu")
    monkeypatch.setattr(pretraining, "pretrain", counted)
    monkeypatch.setattr("deepclust.methods._deep.pretrain", None)  # no fit pretrains
    labels: dict[tuple[int, int], np.ndarray] = {}
    found = sweep(method, X, (2, 3), seeds=(0, 5), image_shape=shape, finished=labels)
    assert len(calls) == len(set(calls)) == 2
    assert set(labels) == {(K, seed) for K in (2, 3) for seed in (0, 5)}
    monkeypatch.undo()
    for (K, seed), own in labels.items():
        alone = load(name)(K, pretraining=small, epochs=1, device="cpu", random_state=seed)
        given = {"network": selection.pretrained(alone, X, shape)} if shape else {}
        assert (alone.fit(X, **given).labels_ == own).all()
    assert (found.method.n_clusters, found.method.random_state) == (found.n_clusters, 0)
    assert (found.method.labels_ == labels[found.n_clusters, 0]).all()


@pytest.mark.parametrize("K", [2, 3, 6])
@pytest.mark.parametrize("n_features", [2, 10])
def test_well_separated_groups_are_found(K: int, n_features: int) -> None:
    found = sweep(kmeans(n_init=10), blobs(K, 40, n_features), range(2, 10))
    assert found.n_clusters == found.best["silhouette"] == K
    assert len(np.unique(found.method.labels_)) == K


def test_the_rule_takes_the_fewest_clusters_within_a_standard_error_of_the_best() -> None:
    values = {2: [0.1, 0.1, 0.1], 3: [0.45, 0.5, 0.48], 4: [0.3, 0.6, 0.6], 5: [0.2, np.nan, 0.9], 6: [np.nan] * 3}
    rows = [(K, seed, value) for K, of_seeds in values.items() for seed, value in enumerate(of_seeds)]
    table = pd.DataFrame(rows, columns=["n_clusters", "seed", "silhouette"])
    table["davies_bouldin"], table["failed"] = 1 - table["silhouette"], ""
    # means 0.1, 0.477, 0.5, 0.55; that of 5 has the standard error 0.7 / sqrt(2) / sqrt(2) = 0.35
    assert choose(table) == choose(table, "davies_bouldin") == 3
    assert choose(table[table["n_clusters"] != 5]) == 3  # 0.3 / sqrt(3) / sqrt(3) = 0.1 below 0.5
    assert choose(table[table["seed"] == 2]) == 5  # a single seed has no error
    with pytest.raises(UserError, match=r"^no K has a silhouette: every fit found a single cluster"):
        choose(table[table["n_clusters"] == 6])


def test_a_sweep_that_was_interrupted_goes_on_where_it_ended(ks_fitted: list[int]) -> None:
    done = dict[tuple[int, int], np.ndarray]()
    with pytest.raises(KeyboardInterrupt):
        sweep(kmeans(), X, (2, 3), seeds=(0, 1), finished=done)
    assert list(done) == [(2, 0), (3, 0), (2, 1)]
    ks_fitted[:] = [0]
    again = sweep(kmeans(), X, (2, 3), seeds=(0, 1), finished=done)
    assert ks_fitted == [0, 3, again.n_clusters]
    ks_fitted[:] = [0] * 4
    whole = sweep(kmeans(), X, (2, 3), seeds=(0, 1))
    pd.testing.assert_frame_equal(again.table, whole.table)


def test_a_fit_that_breaks_down_is_a_row_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    cls = load("kmeans")
    fit = cls._fit

    def broken(self: Any, *given: Any, **inputs: Any) -> None:
        if self.n_clusters == 3 or self.random_state == 0:
            raise SeedFailed("the loss became nan")
        fit(self, *given, **inputs)

    monkeypatch.setattr(cls, "_fit", broken)
    found = sweep(kmeans(), X, (2, 3), seeds=(0, 1))
    assert found.table["failed"].tolist() == ["the loss became nan", "", "the loss became nan", "the loss became nan"]
    assert found.table["silhouette"].notna().tolist() == [False, True, False, False]
    assert (found.n_clusters, found.method.random_state) == (2, 1)
    with pytest.raises(UserError, match=r"^no K has a silhouette: the loss became nan$"):
        sweep(kmeans(), X, (3,), seeds=(0, 1))


def test_a_pretraining_that_breaks_down_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def broken(*_: Any, seed: int, **__: Any) -> None:
        calls.append(seed)
        raise SeedFailed("the loss became nan")

    method = load("ae_kmeans")(device="cpu")  # before, or what it imports would keep the broken one
    monkeypatch.setattr(pretraining, "pretrain", broken)
    with pytest.raises(UserError, match="the loss became nan"):
        sweep(method, X, (2, 3, 4), seeds=(0, 1))
    assert len(calls) == 2


def test_a_graph_is_handed_to_methods_that_read_one_and_judged_on(monkeypatch: pytest.MonkeyPatch) -> None:
    W = neighbour_graph(X, 4)
    found = sweep(load("graph_modularity")(), X, (2, 3), seeds=(0,), graph=W)
    of_graph = [partition(W, K, random_state=_seed_of(0)).modularity for K in (2, 3)]
    assert found.table["modularity"].tolist() == pytest.approx(of_graph)
    assert found.table["stability"].isna().all()
    assert "stability" not in found.best
    monkeypatch.setattr(selection, "LARGEST_GRAPH", 39)
    assert sweep(kmeans(), X, (2, 3), seeds=(0,)).table["modularity"].isna().all()


def _seed_of(random_state: int) -> int:
    return int(np.random.RandomState(random_state).randint(2**31 - 1))


def test_equal_samples_in_every_cluster_have_no_ratio_of_distances() -> None:
    rows = np.repeat(np.array([[0.0, 1], [3, 0], [5, 5]]), 10, axis=0)
    table = sweep(kmeans(), rows, [2, 3], seeds=np.arange(2)).table
    assert table.groupby("n_clusters")["calinski_harabasz"].count().to_dict() == {2: 2, 3: 0}
    assert table[table["n_clusters"] == 3]["silhouette"].tolist() == [1, 1]


@pytest.mark.parametrize("scale", [1e-25, 1e19])
def test_criteria_do_not_depend_on_the_unit_of_the_samples(scale: float) -> None:
    labels = {(2, 0): np.arange(40) % 2}
    found, expected = (judged(rows.astype(np.float32), labels, {}) for rows in (X * scale, X))
    columns = ["silhouette", "davies_bouldin"]
    np.testing.assert_allclose(found[columns], expected[columns], rtol=1e-5)


@pytest.mark.parametrize(
    ("X", "random_state", "message"),
    [
        ([[0.0], [1]], -1, r"^random_state must be an integer in \[0, 2\^32\), got -1$"),
        ([[0.0], [1]], 0, None),
        ("a", 0, "^X must be real"),
    ],
)
def test_a_suggestion_takes_lists_and_proper_seeds(X: Any, random_state: int, message: str | None) -> None:
    if message is None:
        assert suggest_n_clusters(X, random_state=random_state).n_clusters == 1
    else:
        with pytest.raises(UserError, match=message):
            suggest_n_clusters(X, random_state=random_state)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n_clusters": []}, r"^n_clusters must be integers in \[2, N-1=39\], at least one, got none$"),
        ({"n_clusters": range(1, 4)}, r"in \[2, N-1=39\], at least one, got 1 to 3$"),
        ({"n_clusters": range(2, 41)}, r"in \[2, N-1=39\], at least one, got 2 to 40$"),
        ({"n_clusters": [2.0, 3.0]}, r"must be integers .* got 2.0 to 3.0$"),
        ({"seeds": []}, r"^seeds must be different integers in \[0, 2\^32\), at least one, got \[\]$"),
        ({"seeds": [1, 1]}, r"^seeds must be different .* got \[1, 1\]$"),
        ({"seeds": [-1]}, r"got \[-1\]$"),
        ({"seeds": [0.5]}, r"^seeds must be different integers in .* got \[0.5\]$"),
        ({"n_clusters": 3}, r"^n_clusters must be several integers, such as \[3\] or range\(2, 13\), got 3$"),
        ({"seeds": 3}, r"^seeds must be several integers, such as \[3\] or range\(3\), got 3$"),
        ({"X": X + 1j}, r"^X must be real numbers of shape \(N, D\), got complex128 of shape \(40, "),
        ({"X": X[:, 0]}, r"^X must be real numbers of shape \(N, D\), got float64 of shape \(40,\)$"),
        ({"X": sp.csr_matrix(X)}, r"^the criteria are of dense samples, got sparse ones; hand in X.toarray\(\)$"),
        ({"method": kmeans(n_init=0)}, "^n_init: Input should be greater than or equal to 1, got 0$"),
    ],
)
def test_what_cannot_be_swept_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        sweep(**{"method": kmeans(), "X": X, "n_clusters": (2, 3)} | given)


@pytest.mark.parametrize(
    ("method", "got"),
    [(KMeans(3), "KMeans$"), (load("kmeans"), "the class KMeans; call it$"), ("kmeans", "str$")],
)
def test_other_libraries_methods_are_refused(method: Any, got: str) -> None:
    for choose_k in (lambda: sweep(method, X, (2, 3)), lambda: fit_auto(method, X)):
        with pytest.raises(UserError, match=f"^method must be one of deepclust.methods or a Clusterer .*, got {got}"):
            choose_k()


def test_a_method_that_cannot_work_here_ends_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise NotApplicable("no")

    monkeypatch.setattr(load("kmeans"), "_fit", refuse)
    with pytest.raises(NotApplicable):
        sweep(kmeans(), X, (2, 3))
