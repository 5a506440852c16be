"""Partitions of graphs: the formulas against plain loops, what the search promises, and graphs that are hard on it."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.cluster import SpectralClustering
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from deepclust.errors import UserError
from deepclust.graph import partition as module
from deepclust.graph.knn import knn_graph
from deepclust.graph.partition import Partition, modularity, normalized_cut, partition
from deepclust.graph.weights import gaussian_weights


def random_graph(n: int, density: float = 0.3, seed: int = 0) -> sp.csr_matrix:
    rng = np.random.default_rng(seed)
    A = np.triu(rng.uniform(0.1, 1, (n, n)) * (rng.random((n, n)) < density), 1)
    return sp.csr_matrix(A + A.T)


def clique(n: int) -> sp.csr_matrix:
    return sp.csr_matrix(np.ones((n, n)) - np.eye(n))


def side_by_side(*graphs: sp.csr_matrix) -> sp.csr_matrix:
    return sp.csr_matrix(sp.block_diag(graphs))


def isolated(n: int) -> sp.csr_matrix:
    return sp.csr_matrix((n, n))


def assert_valid(found: Partition, W: sp.csr_matrix, K: int) -> None:
    """Check for exactly K clusters, numbered in order of appearance, for their values and for the best being chosen."""
    assert len(found.candidates) >= 1
    for labels in (found.labels, *(c.labels for c in found.candidates)):
        assert labels.shape == (W.shape[0],)
        assert labels.dtype == np.int64
        names, first = np.unique(labels, return_index=True)
        np.testing.assert_array_equal(names, np.arange(K))
        assert (np.diff(first) > 0).all()
    for candidate in found.candidates:
        assert candidate.modularity == modularity(W, candidate.labels)
        assert candidate.normalized_cut == normalized_cut(W, candidate.labels)
    best = max(found.candidates, key=lambda candidate: candidate.modularity)
    np.testing.assert_array_equal(found.labels, best.labels)
    assert (found.modularity, found.normalized_cut) == (best.modularity, best.normalized_cut)


@pytest.fixture(scope="module")
def digits() -> sp.csr_matrix:
    return gaussian_weights(knn_graph(load_digits().data / 16, 10), bandwidth="local")


@pytest.fixture(scope="module")
def parted(digits: sp.csr_matrix) -> Partition:
    with threadpool_limits(1):
        return partition(digits, 10)


def test_edges_of_very_different_weights_stay_edges() -> None:
    W = side_by_side(clique(4) * 1e300, clique(4) * 1e-300).tolil()
    W[0, 4] = W[4, 0] = 1e-307
    assert_valid(partition(sp.csr_matrix(W), 3), sp.csr_matrix(W), 3)


# ---------------------------------------------------------------------------------------------------------- formulas


@pytest.mark.parametrize(("n", "K"), [(5, 1), (12, 3), (12, 12), (40, 4)])
def test_modularity_and_normalized_cut_match_the_definitions(n: int, K: int) -> None:
    W = random_graph(n)
    labels = np.random.default_rng(1).permutation(np.arange(n) % K)
    dense = W.toarray()
    degrees, total = dense.sum(axis=1), dense.sum()
    Q = cut = 0.0
    for i in range(n):
        for j in range(n):
            if labels[i] == labels[j]:
                Q += (dense[i, j] - degrees[i] * degrees[j] / total) / total
            else:
                cut += dense[i, j] / degrees[labels == labels[i]].sum()
    assert modularity(W, labels) == pytest.approx(Q, abs=1e-14)
    assert normalized_cut(W, labels) == pytest.approx(cut, abs=1e-13)


def test_modularity_of_separate_cliques_is_known() -> None:
    W = side_by_side(*[clique(4)] * 5)
    labels = np.repeat(np.arange(5), 4)
    assert modularity(W, labels) == pytest.approx(1 - 1 / 5)
    assert normalized_cut(W, labels) == 0
    assert modularity(W, np.zeros(20, dtype=int)) == pytest.approx(0, abs=1e-15)
    assert normalized_cut(W, np.arange(20)) == pytest.approx(20)


def test_values_depend_on_neither_scale_nor_names() -> None:
    W, labels = random_graph(30), np.arange(30) % 4
    named = np.array([7, -3, 100, 0])[labels]
    for value in (modularity, normalized_cut):
        for scale in (1e-300, 1e-9, 3.0, 1e300):
            assert value(sp.csr_matrix(W * scale), named) == pytest.approx(value(W, labels), rel=1e-12)


def test_nodes_without_edges_count_nothing() -> None:
    W, labels = random_graph(20), np.arange(20) % 3
    more = side_by_side(W, isolated(4))
    for value in (modularity, normalized_cut):
        assert value(more, np.r_[labels, 0, 1, 5, 5]) == pytest.approx(value(W, labels))
        assert value(isolated(6), np.arange(6)) == 0


# ------------------------------------------------------------------------------------------------------- known answers


def test_two_cliques_joined_by_an_edge_are_told_apart() -> None:
    W = side_by_side(clique(6), clique(6)).tolil()
    W[0, 11] = W[11, 0] = 1
    found = partition(sp.csr_matrix(W), 2)
    np.testing.assert_array_equal(found.labels, np.repeat([0, 1], 6))
    assert found.modularity == pytest.approx(2 * (30 / 62 - 0.25))
    assert found.normalized_cut == pytest.approx(2 / 31)


def planted_partition(K: int) -> tuple[np.ndarray, sp.csr_matrix]:
    """Return groups of 40 nodes, and a graph with an edge within one half the time and between two seldom."""
    rng = np.random.default_rng(K)
    planted = rng.permutation(np.arange(40 * K) % K)
    same = planted[:, None] == planted
    A = np.triu(rng.random(same.shape) < np.where(same, 0.5, 0.5 / (4 * K)), 1)
    return planted, sp.csr_matrix((A | A.T).astype(float))


@pytest.mark.parametrize("K", [2, 5, 12])
def test_planted_partition_is_recovered(K: int) -> None:
    planted, W = planted_partition(K)
    found = partition(W, K)
    assert adjusted_rand_score(planted, found.labels) == 1
    assert_valid(found, W, K)


def test_digits_graph_beats_classes_and_spectral_clustering(digits: sp.csr_matrix, parted: Partition) -> None:
    assert_valid(parted, digits, 10)
    spectral = SpectralClustering(10, affinity="precomputed", assign_labels="cluster_qr", random_state=0).fit(digits)
    assert parted.modularity > modularity(digits, load_digits().target)
    assert parted.modularity > modularity(digits, spectral.labels_)
    assert adjusted_rand_score(load_digits().target, parted.labels) > 0.85


def test_candidates_say_where_they_come_from(parted: Partition) -> None:
    value = {c.origin: c.modularity for c in parted.candidates}
    assert len(value) == len(parted.candidates)
    starts = [origin for origin in value if " + " not in origin]
    assert {"spectral m=10", "spectral m=20", "merge 3K by modularity", "merge 5K by conductance"} <= set(starts)
    assert {"Louvain r=1", "Louvain r=2", "Louvain r=4"} <= set(starts)
    for step in (" + split-merge", " + regrouping"):
        before = {origin: value[origin.removesuffix(step)] for origin in value if origin.endswith(step)}
        assert len(before) == 3
        assert all(value[origin] >= reached for origin, reached in before.items())
    present = {
        value[origin] for origin in starts if not origin.startswith("Louvain")
    }  # Louvain's come after split-merge
    split = {value[origin.removesuffix(" + split-merge")] for origin in value if origin.endswith(" + split-merge")}
    assert split == set(sorted(present)[-3:])


def test_louvain_and_regrouping_find_what_the_other_starts_miss(digits: sp.csr_matrix) -> None:
    found = partition(digits, 10, random_state=2)
    other = [c for c in found.candidates if not c.origin.startswith("Louvain") and "regrouping" not in c.origin]
    assert max(c.modularity for c in other) == pytest.approx(0.87078, abs=1e-5)
    assert found.modularity == pytest.approx(0.87170, abs=1e-5)


# ---------------------------------------------------------------------------------------------------- the search itself


@pytest.mark.parametrize("blocks", [1, 16])
@pytest.mark.parametrize("start", ["random", "classes", "one large"])
def test_modularity_never_falls_while_nodes_move(
    digits: sp.csr_matrix, start: str, blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCKS", blocks)
    labels = {
        "random": np.random.default_rng(0).permutation(np.arange(digits.shape[0]) % 10),
        "classes": load_digits().target,
        "one large": np.minimum(np.arange(digits.shape[0]), 9),
    }[start]
    graph = module._Graph.scaled(digits)
    reached = [graph.modularity(labels)]
    best_moves = module._best_moves

    def watched(graph: module._Graph, nodes: np.ndarray, labels: np.ndarray, volumes: np.ndarray) -> object:
        reached.append(graph.modularity(labels))
        assert len(np.unique(labels)) == 10
        np.testing.assert_allclose(volumes, graph.volumes(labels, 10), atol=1e-15)
        return best_moves(graph, nodes, labels, volumes)

    monkeypatch.setattr(module, "_best_moves", watched)
    refined = module._refine(graph, labels, 0)
    assert (np.diff(reached) >= -1e-14).all()
    assert graph.modularity(refined) == pytest.approx(max(reached))
    assert reached[-1] > reached[0]


def test_no_single_move_is_left_that_would_raise_modularity(digits: sp.csr_matrix) -> None:
    graph = module._Graph.scaled(digits)
    everyone = np.arange(digits.shape[0])
    for seed in range(4):
        refined = module._refine(graph, np.random.default_rng(seed).permutation(everyone % 10), seed)
        gains, _ = module._best_moves(graph, everyone, refined, graph.volumes(refined, 10))
        assert gains.max() <= module._RISE


def test_gain_of_a_single_move_is_exact_and_the_best() -> None:
    graph, labels = module._Graph.scaled(random_graph(50)), np.arange(50) % 4
    gains, targets = module._best_moves(graph, np.arange(50), labels, graph.volumes(labels, 4))
    for node in range(50):
        rises = []
        for k in range(4):
            moved = labels.copy()
            moved[node] = k
            rises.append(graph.modularity(moved) - graph.modularity(labels))
        rises[labels[node]] = -np.inf
        assert targets[node] == np.argmax(rises)
        assert gains[node] == pytest.approx(max(rises), abs=1e-14)


def test_gain_of_a_single_move_to_a_neighbour_is_exact_and_the_best() -> None:
    W = side_by_side(random_graph(50, density=0.1), clique(2), isolated(1))
    graph, labels = module._Graph.scaled(W), np.r_[np.random.default_rng(0).integers(20, size=50), 20, 21, 22]
    nodes = np.random.default_rng(1).permutation(53)
    gains, targets = module._moves_to_neighbours(graph, nodes, labels, graph.volumes(labels, 23))
    for node, gain, target in zip(nodes, gains, targets, strict=True):
        rises = {}
        for k in set(labels[W[node].indices]) - {labels[node]}:
            moved = labels.copy()
            moved[node] = k
            rises[k] = graph.modularity(moved) - graph.modularity(labels)
        assert gain == pytest.approx(max(rises.values(), default=-np.inf), abs=1e-14)
        assert target == max(rises, key=lambda k: rises[k], default=labels[node])


def test_edges_of_some_nodes_are_rows_of_the_matrix() -> None:
    graph = module._Graph.scaled(random_graph(50))
    for nodes in (np.array([], dtype=np.int64), np.array([7]), np.array([30, 2, 2, 49])):
        edges, rows = graph.edges(nodes), graph.W[nodes]
        for found, expected in zip(edges[1:], (rows.indices, rows.data, rows.indptr), strict=True):
            np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(edges.rows, rows.tocoo().coords[0])


def test_rise_of_moves_made_at_once_is_exact() -> None:
    graph = module._Graph.scaled(random_graph(50))
    rng = np.random.default_rng(2)
    labels = np.arange(50) % 4
    for size in (1, 2, 10, 50):
        movers = rng.choice(50, size, replace=False)
        new = (labels[movers] + rng.integers(1, 4, size)) % 4
        after = labels.copy()
        after[movers] = new
        rise = module._rise(graph, graph.edges(movers), movers, new, labels, graph.volumes(labels, 4))
        assert rise == pytest.approx(graph.modularity(after) - graph.modularity(labels), abs=1e-14)


def test_graph_of_groups_has_the_modularity_of_its_nodes(digits: sp.csr_matrix) -> None:
    graph, rng = module._Graph.scaled(digits), np.random.default_rng(0)
    groups = rng.permutation(np.arange(digits.shape[0]) % 30)
    joined = graph.joined(groups, 30)
    assert not joined.W.diagonal().any()
    one, other = rng.integers(4, size=(2, 30))
    rise = joined.modularity(one) - joined.modularity(other)
    assert rise == pytest.approx(graph.modularity(one[groups]) - graph.modularity(other[groups]), abs=1e-14)


@pytest.mark.parametrize("resolution", [1, 4])
def test_levels_get_coarser_and_their_groups_stay_within_clusters(digits: sp.csr_matrix, resolution: int) -> None:
    labels = load_digits().target
    levels, top = module._levels(module._Graph.scaled(digits), labels, resolution, 0)
    sizes = [len(level.group) for level in levels]
    assert len(sizes) > 2
    assert (np.diff(sizes) < 0).all()
    group = np.arange(len(labels))
    for level, size in zip(levels[:-1], sizes[1:], strict=True):
        group = level.group[group]
        assert group.max() + 1 == size
    np.testing.assert_array_equal(top[group], labels)


@pytest.mark.parametrize("K", [2, 5, 12])
def test_every_louvain_start_finds_a_planted_partition(K: int) -> None:
    planted, W = planted_partition(K)
    starts = list(module._louvain_starts(module._Graph.scaled(W), K, 0))
    assert [adjusted_rand_score(planted, labels) for _, labels in starts] == [1, 1, 1]


def test_resolution_rises_until_louvain_has_groups_enough() -> None:
    W = side_by_side(clique(8), clique(9))
    starts = dict(module._louvain_starts(module._Graph.scaled(W), 5, 0))
    assert list(starts) == ["Louvain r=2", "Louvain r=4", "Louvain r=8"]
    for labels in starts.values():
        assert len(np.unique(labels)) == 5


def test_a_part_of_a_cluster_that_belongs_to_another_moves_whole() -> None:
    W = side_by_side(clique(12), clique(6), clique(12)).tolil()
    for i in range(12, 18):  # the six in the middle lean towards the last, but each leans on the other five more
        W[i, i + 8] = W[i + 8, i] = 1
    graph, labels = module._Graph.scaled(sp.csr_matrix(W)), np.repeat([0, 1], [18, 12])
    np.testing.assert_array_equal(module._refine(graph, labels, 0), labels)
    np.testing.assert_array_equal(module._regroup(graph, labels, 0), np.repeat([0, 1], [12, 18]))


def test_a_cut_gains_what_it_says_and_falls_between_cliques() -> None:
    W = side_by_side(clique(8), clique(5), clique(7)).tolil()
    for i, j in ((0, 8), (12, 13)):
        W[i, j] = W[j, i] = 0.5
    graph = module._Graph.scaled(sp.csr_matrix(W))
    whole = np.zeros(20, dtype=np.int64)
    cut = module._cut_in_two(graph, np.arange(20))
    after = whole.copy()
    after[cut.side] = 1
    assert cut.gain == pytest.approx(graph.modularity(after) - graph.modularity(whole))
    assert set(cut.side) in [set(range(8)), set(range(8, 20)), set(range(13)), set(range(13, 20))]
    assert module._cut_in_two(graph, np.array([3])).gain == -np.inf


def test_clusters_missing_are_made_by_cutting_where_modularity_gains_most() -> None:
    W = side_by_side(clique(6), clique(9), clique(7))
    graph = module._Graph.scaled(W)
    for labels in (np.zeros(22, dtype=np.int64), np.repeat([0, 1, 1], [6, 9, 7])):
        assert sorted(np.bincount(module._exactly(graph, labels, 3))) == [6, 7, 9]
    assert len(np.unique(module._exactly(graph, np.zeros(22, dtype=np.int64), 22))) == 22


def test_best_pair_is_merged_but_not_what_was_just_cut_apart() -> None:
    W = side_by_side(clique(8), clique(4), clique(3)).tolil()
    W[8, 12] = W[12, 8] = 1
    graph = module._Graph.scaled(sp.csr_matrix(W))
    cut = np.repeat([0, 2, 1, 3, 1], [4, 4, 2, 2, 3])  # no cluster of the first clique may be 3, nor be lost
    np.testing.assert_array_equal(module._merge_once(graph, cut, 3, 1), np.repeat([0, 0, 1, 2, 1], [4, 4, 2, 2, 3]))
    both = np.repeat([0, 3, 1, 2], [4, 4, 4, 3])
    np.testing.assert_array_equal(module._merge_once(graph, both, 3, 0), np.repeat([0, 2, 1, 1], [4, 4, 4, 3]))


# ---------------------------------------------------------------------------------------------------------- repetition


def test_result_repeats_and_ignores_threads(digits: sp.csr_matrix, parted: Partition) -> None:
    before = digits.copy()
    with threadpool_limits(2):
        again = partition(digits, 10)
    assert [c.origin for c in again.candidates] == [c.origin for c in parted.candidates]
    for one, other in zip(again.candidates, parted.candidates, strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
    assert again.modularity == parted.modularity
    np.testing.assert_array_equal(digits.toarray(), before.toarray())


def test_threads_leave_large_graphs_to_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = partition(HARD["random"], 3).labels
    monkeypatch.setattr(module, "_APART", 0)
    monkeypatch.setattr(module, "_refine", None)  # a process of its own has it still
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(lambda seed: partition(HARD["random"], 3, random_state=seed), [0, 0]):
            np.testing.assert_array_equal(found.labels, expected)


def test_scale_of_the_weights_changes_nothing() -> None:
    for name in ("random", "duplicates", "more components than clusters"):
        expected = partition(HARD[name], 3).labels
        for scale in (2.0**-900, 2.0**900):
            np.testing.assert_array_equal(partition(sp.csr_matrix(HARD[name] * scale), 3).labels, expected)


def test_permuted_nodes_are_parted_alike_where_the_optimum_is_clear(digits: sp.csr_matrix, parted: Partition) -> None:
    """On five classes the optimum is found from any order; on all ten, near ties leave a thousandth of modularity."""
    order = np.random.default_rng(3).permutation(digits.shape[0])
    permuted = partition(sp.csr_matrix(digits[order][:, order]), 10)
    assert permuted.modularity == pytest.approx(parted.modularity, abs=2e-3)

    clear = np.flatnonzero(np.isin(load_digits().target, [0, 2, 4, 6, 7]))
    W = gaussian_weights(knn_graph(load_digits().data[clear] / 16, 10), bandwidth="local")
    order = np.random.default_rng(4).permutation(len(clear))
    one, other = partition(W, 5), partition(sp.csr_matrix(W[order][:, order]), 5, random_state=1)
    assert adjusted_rand_score(one.labels[order], other.labels) == 1
    assert one.modularity == pytest.approx(other.modularity, abs=1e-12)


# --------------------------------------------------------------------------------------------------------- hard cases


HARD = {
    "random": random_graph(40),
    "cliques of many sizes": side_by_side(*[clique(n) for n in range(2, 9)]),
    "more components than clusters": side_by_side(*[clique(2 + n % 3) for n in range(14)]),
    "a large component among crumbs": side_by_side(random_graph(30), *[clique(2)] * 3, isolated(4)),
    "mostly isolated": side_by_side(clique(3), isolated(37)),
    "no edges": isolated(40),
    "pairs": side_by_side(*[clique(2)] * 20),
    "star": sp.csr_matrix([[float((i == 0) != (j == 0)) for j in range(40)] for i in range(40)]),
    "complete": clique(40),
    "chain": sp.csr_matrix(np.eye(40, k=1) + np.eye(40, k=-1)),
    "duplicates": gaussian_weights(knn_graph(np.zeros((40, 2)), 4), bandwidth="local"),
    "weights of all sizes": gaussian_weights(knn_graph(10.0 ** np.arange(40)[:, None] / 1e10, 4)),
}


@pytest.mark.parametrize(
    ("name", "K"),
    [(name, K) for name in HARD for K in (1, 3, "N-1", "N")]
    + [(name, 12) for name in ("random", "chain", "more components than clusters", "a large component among crumbs")],
)
def test_hard_graphs_get_exactly_k_clusters(name: str, K: int | str) -> None:
    W = HARD[name]
    count = {"N-1": W.shape[0] - 1, "N": W.shape[0]}.get(str(K), K)
    assert isinstance(count, int)
    assert_valid(partition(W, count), W, count)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_small_graphs_have_every_possible_number_of_clusters(n: int) -> None:
    for W in (clique(n), isolated(n)):
        for K in range(1, n + 1):
            assert_valid(partition(W, K), W, K)


def test_as_many_components_as_clusters_are_the_clusters() -> None:
    sizes = [9, 8, 8, 7, 6]
    W = side_by_side(*[clique(n) for n in sizes])
    order = np.random.default_rng(0).permutation(sum(sizes))
    found = partition(sp.csr_matrix(W[order][:, order]), 5)
    assert adjusted_rand_score(np.repeat(np.arange(5), sizes)[order], found.labels) == 1


def test_components_beyond_k_are_merged_whole_and_evenly() -> None:
    W = side_by_side(*[clique(5)] * 12)
    found = partition(W, 4)
    assert found.normalized_cut == 0
    np.testing.assert_array_equal(np.bincount(found.labels), [15] * 4)
    assert found.modularity == pytest.approx(1 - 1 / 4)


def test_fewer_components_than_k_are_split() -> None:
    W = side_by_side(clique(4), random_graph(60))
    found = partition(W, 6)
    assert_valid(found, W, 6)
    assert len(np.unique(found.labels[4:])) >= 5


def test_crumbs_do_not_take_the_place_of_clusters(digits: sp.csr_matrix, parted: Partition) -> None:
    """Many tiny components would fill the eigenvectors: the digits must come out as they do without them."""
    crumbs = side_by_side(*[clique(2)] * 15, *[clique(3)] * 10, isolated(20))
    found = partition(side_by_side(digits, crumbs), 10)
    N = digits.shape[0]
    assert modularity(digits, found.labels[:N]) == pytest.approx(parted.modularity, abs=2e-3)
    for component in [*np.arange(N, N + 30).reshape(15, 2), *np.arange(N + 30, N + 60).reshape(10, 3)]:
        assert len(set(found.labels[component])) == 1
    volumes = np.bincount(found.labels, np.asarray(digits.sum(axis=1)).ravel().tolist() + [0.0] * 80)
    assert set(found.labels[N + 60 :]) <= set(found.labels[N:])  # where the crumbs went, that is to small clusters
    assert volumes.argmax() not in found.labels[N:]


def test_isolated_nodes_join_the_cluster_of_least_volume() -> None:
    W = side_by_side(clique(8), clique(5), clique(7), isolated(6))
    found = partition(W, 3)
    np.testing.assert_array_equal(found.labels, np.repeat([0, 1, 2, 1], [8, 5, 7, 6]))


def test_fewer_nodes_with_edges_than_clusters_leave_clusters_to_the_isolated() -> None:
    found = partition(HARD["mostly isolated"], 5)
    assert found.modularity == pytest.approx(0)
    np.testing.assert_array_equal(found.labels[:7], [0, 0, 0, 1, 2, 3, 4])


def test_many_small_components_take_no_longer_than_a_connected_graph() -> None:
    start = time.process_time()
    found = partition(side_by_side(*[clique(2)] * 5000), 10)
    assert time.process_time() - start < 10
    np.testing.assert_array_equal(np.bincount(found.labels), [1000] * 10)


# --------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("K", [0, 31, 2.0, -1])
def test_numbers_of_clusters_out_of_range_are_refused(K: int) -> None:
    with pytest.raises(UserError, match=r"n_clusters must be an integer in \[1, N=30\]"):
        partition(random_graph(30), K)


@pytest.mark.parametrize("labels", [np.zeros(29, dtype=int), np.zeros(30), np.zeros((30, 1), dtype=int)])
def test_labels_of_another_shape_or_type_are_refused(labels: np.ndarray) -> None:
    for value in (modularity, normalized_cut):
        with pytest.raises(UserError, match="labels must be integers of shape"):
            value(random_graph(30), labels)


def test_matrices_that_are_no_graph_are_refused() -> None:
    W = random_graph(30)
    for bad, reason in ((sp.csr_matrix(sp.triu(W)), "symmetric"), (sp.csr_matrix(W + sp.eye_array(30)), "diagonal")):
        with pytest.raises(UserError, match=reason):
            partition(bad, 3)
        with pytest.raises(UserError, match=reason):
            modularity(bad, np.zeros(30, dtype=int))
