"""Every public metric and loss, found by its module: numbers of any type, and too few of them, are right or refused."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import Tensor

from deepclust import losses, metrics
from deepclust.errors import UserError
from deepclust.graph import partition
from deepclust.losses import distances, exemplars, hypersphere, latent_mixture, stability, student_t

SIGNED, UNSIGNED = ("int8", "int16", "int32", "int64"), ("uint8", "uint16", "uint32", "uint64")
every_integer = pytest.mark.parametrize("dtype", [*SIGNED, *UNSIGNED])


def public(*modules: ModuleType) -> set[str]:
    return {
        name
        for module in modules
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }


# ------------------------------------------------------------------------------------------------------------- metrics

Y = [3, 3, 3, 0, 0, 7, 7, 7]
LABELS = [1, 1, 4, 4, 4, 6, 6, 9]
POINTS = np.array([[1, 0], [2, 1], [9, 9], [8, 9], [9, 8], [30, 1], [31, 2], [60, 60]])


def graph(n: int = 8) -> sp.csr_matrix:
    """Return the complete graph, its weights integers."""
    return sp.csr_matrix(np.ones((n, n), int) - np.eye(n, dtype=int))


METRICS: dict[str, Callable[..., Any]] = {
    "accuracy": metrics.accuracy,
    "nmi": metrics.nmi,
    "ari": metrics.ari,
    "purity": metrics.purity,
    "match": metrics.match,
    "external": metrics.external,
    "internal": lambda y, labels: metrics.internal(POINTS[: len(labels)], graph(len(labels)), labels),
    "stability": lambda y, labels: metrics.stability([y, labels]),
    "modularity": lambda y, labels: partition.modularity(graph(len(labels)), labels),
    "normalized_cut": lambda y, labels: partition.normalized_cut(graph(len(labels)), labels),
}
OF_GRAPHS = {"modularity", "normalized_cut"}
every_metric = pytest.mark.parametrize("name", METRICS)


def numbers(found: Any) -> list[float]:
    return [float(value) for value in np.ravel(list(found.values()) if isinstance(found, dict) else found)]


def test_no_metric_is_left_out() -> None:
    modules = [importlib.import_module(f"deepclust.metrics.{name}") for name in ("external", "internal")]
    parts = {"integers", "several", "contingency", "internal_of"}  # checks of arguments, and what metrics share
    assert public(metrics, *modules) - parts == METRICS.keys() - OF_GRAPHS


@every_metric
@every_integer
def test_metrics_of_integers_of_any_width_and_sign_are_those_of_others(name: str, dtype: str) -> None:
    metric = METRICS[name]
    expected = numbers(metric(Y, LABELS))
    assert numbers(metric(np.array(Y, dtype), np.array(LABELS, dtype))) == expected
    if dtype in SIGNED and name != "match":
        assert numbers(metric(np.array(Y, dtype) - 5, -np.array(LABELS, dtype))) == pytest.approx(expected)


@every_metric
@every_integer
def test_names_at_the_ends_of_a_type_are_names_like_others(name: str, dtype: str) -> None:
    metric, least, largest = METRICS[name], np.iinfo(dtype).min, np.iinfo(dtype).max
    y = np.array([{0: least, 3: 5, 7: largest}[value] for value in Y], dtype)
    labels = np.array([{9: least, 6: largest}.get(value, value) for value in LABELS], dtype)
    if name != "match":
        assert numbers(metric(y, labels)) == pytest.approx(numbers(metric(Y, LABELS)))
    elif dtype in ("int64", "uint64"):
        with pytest.raises(UserError, match="leave room for others in int64"):
            metric(y, labels)
    else:
        assert metric(y, labels).tolist() == [5, 5, least, least, least, largest, largest, largest + 1]


@every_metric
@every_integer
def test_metrics_of_one_sample_are_defined_and_of_none_refused_or_zero(name: str, dtype: str) -> None:
    metric, one, none = METRICS[name], np.ones(1, dtype), np.ones(0, dtype)
    assert np.isfinite(numbers(metric(one, one))).all()
    if name in OF_GRAPHS:
        assert numbers(metric(none, none)) == [0]
    else:
        with pytest.raises(UserError, match="non-empty vector of integers"):
            metric(none, none)


@every_metric
@pytest.mark.parametrize("other", [np.array(Y, float), np.array(Y, bool), np.array(Y, str), np.array([Y])])
def test_metrics_refuse_what_are_no_integers(name: str, other: np.ndarray) -> None:
    with pytest.raises(UserError, match=r"integers") as caught:
        METRICS[name](other, other)
    assert "\n" not in str(caught.value)


@every_integer
@pytest.mark.parametrize("at", ["least", "largest"])
def test_internal_metrics_of_integers_are_those_of_their_differences(dtype: str, at: str) -> None:
    ends = np.iinfo(dtype)
    whole = [[int(value) + (ends.min if at == "least" else ends.max - 60) for value in row] for row in POINTS]
    found = metrics.internal(np.array(whole, dtype), graph(), LABELS)
    assert found == pytest.approx(metrics.internal(POINTS.astype(float), graph(), LABELS))
    assert found.keys() == {"silhouette", "davies_bouldin", "modularity"}


@pytest.mark.parametrize(("dtype", "offset"), [(np.float16, 1e3), (np.float32, 1e6), (np.float64, 1e12)])
def test_internal_metrics_far_from_the_origin_are_those_near_it(dtype: type, offset: float) -> None:
    found = metrics.internal((POINTS + offset).astype(dtype), graph(), LABELS)
    assert found == pytest.approx(metrics.internal(POINTS.astype(float), graph(), LABELS), rel=1e-3)


@pytest.mark.parametrize("X", [POINTS[1:], POINTS.ravel(), np.where(POINTS > 50, np.nan, 1.0), POINTS.astype(str)])
def test_internal_metrics_refuse_what_are_no_samples(X: np.ndarray) -> None:
    with pytest.raises(UserError, match="X must be a finite real array"):
        metrics.internal(X, graph(), LABELS)


# -------------------------------------------------------------------------------------------------------------- losses

CODES = [[1, 0, 2], [0, 3, 1], [0, 0, 0], [2, 2, 2]]  # the third is without a direction
CENTERS = [[1, 1, 1], [0, 0, 3]]
OWN = [1, 0, 1, 0]
PRIOR = {"means": CENTERS, "log_variances": CENTERS}
SHARES = [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 0]]  # the last cluster is empty, and so is the last row

LOSSES: dict[str, tuple[Callable[..., Any], dict[str, list]]] = {
    "squared_distances": (distances.squared_distances, {"z": CODES, "centroids": CENTERS}),
    "clustering_loss": (exemplars.clustering_loss, {"squared": SHARES, "labels": OWN, "weights": [1, 2, 3]}),
    "assignment_entropy": (lambda squared: exemplars.assignment_entropy(squared, 2.0), {"squared": SHARES}),
    "inverse_sizes": (lambda sizes: exemplars.inverse_sizes(sizes, 1.0), {"sizes": [3, 0, 1]}),
    "moving_average": (
        lambda centroids, z, labels: exemplars.moving_average(centroids, z, labels, 0.5),
        {"centroids": [*CENTERS, [5, 5, 5]], "z": CODES, "labels": OWN},
    ),
    "moving_ratio": (
        lambda sums, sizes, z, labels: exemplars.moving_ratio(sums, sizes, z, labels, 0.5, 1.0),
        {"sums": [*CENTERS, [5, 5, 5]], "sizes": [3, 0, 1], "z": CODES, "labels": OWN},
    ),
    "directions": (hypersphere.directions, {"z": CODES}),
    "norm_penalty": (hypersphere.norm_penalty, {"z": CODES}),
    "cluster_directions": (lambda z, labels: hypersphere.cluster_directions(z, labels, 3), {"z": CODES, "labels": OWN}),
    "uniformity": (hypersphere.uniformity, {"centroids": SHARES, "present": [2, 0, 4, 1]}),
    "compactness": (lambda z, labels: hypersphere.compactness(z, labels, 3), {"z": CODES, "labels": OWN}),
    "log_joint": (latent_mixture.log_joint, {"z": CODES, "log_weights": [0, 1], **PRIOR}),
    "divergences": (latent_mixture.divergences, {"mean": CODES, "log_variance": CODES, **PRIOR}),
    "otsu_threshold": (stability.otsu_threshold, {"q": SHARES}),
    "determinacy": (stability.determinacy, {"q": SHARES, "t": [1]}),
    "stability": (lambda fq: stability.stability(fq, 0.8), {"fq": SHARES}),
    "instability": (lambda sq: stability.instability(sq, True), {"sq": [1, 0, 1]}),
    "soft_assignment": (student_t.soft_assignment, {"z": CODES, "centroids": CENTERS}),
    "target_distribution": (student_t.target_distribution, {"q": SHARES}),
    "kl_divergence": (student_t.kl_divergence, {"p": SHARES, "q": SHARES}),
}
CONSTANTS = {"inverse_sizes", "target_distribution"}  # nothing is trained through these
WHOLE = {"centroids", "sums", "weights", "present", "sizes", "t", "log_weights", *PRIOR}  # no row for each sample
every_loss = pytest.mark.parametrize("name", LOSSES)


def entries(found: Tensor | tuple[Tensor, ...]) -> Tensor:
    return torch.cat([part.double().ravel() for part in (found if isinstance(found, tuple) else (found,))])


def given(name: str, dtype: torch.dtype, **others: Tensor) -> dict[str, Tensor]:
    """Return a loss's arguments, their numbers of one type and their labels int64."""
    values = LOSSES[name][1].items()
    own = {key: torch.tensor(value, dtype=torch.int64 if key == "labels" else dtype) for key, value in values}
    return own | others


def test_no_loss_is_left_out() -> None:
    names = [m.name for m in pkgutil.iter_modules(losses.__path__) if not m.name.startswith("_")]
    found = public(*(importlib.import_module(f"deepclust.losses.{name}") for name in names))
    assert found - {"blocks"} == LOSSES.keys()  # which are slices


@every_loss
@every_integer
def test_losses_of_integers_of_any_width_and_sign_are_those_of_floats(name: str, dtype: str) -> None:
    loss, kind = LOSSES[name][0], getattr(torch, dtype)
    expected = entries(loss(**given(name, torch.float64)))
    assert expected.isfinite().all()
    assert torch.equal(entries(loss(**given(name, kind))), expected)
    if "labels" in LOSSES[name][1]:
        own = torch.tensor(OWN, dtype=kind)
        assert torch.equal(entries(loss(**given(name, torch.float64, labels=own))), expected)
    if "z" in LOSSES[name][1]:  # squares that the type does not hold
        z = torch.full((4, 3), -100 if dtype in SIGNED else 200).to(kind)
        found, expected = (entries(loss(**given(name, torch.float64, z=codes))) for codes in (z, z.double()))
        assert torch.equal(found, expected)


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_losses_of_one_row_are_finite_and_of_none_refused(name: str, dtype: torch.dtype) -> None:
    loss, whole = LOSSES[name][0], given(name, dtype)
    one, none = ({key: value if key in WHOLE else value[:n_rows] for key, value in whole.items()} for n_rows in (1, 0))
    assert entries(loss(**one)).isfinite().all()
    for arguments in (none, {key: value[:0] for key, value in whole.items()}):
        if arguments.keys() - WHOLE or not any(value.numel() for value in arguments.values()):
            with pytest.raises(
                UserError, match=r"of real numbers, at least one, got torch\.\w+ of shape \(0"
            ) as caught:
                loss(**arguments)
            assert "\n" not in str(caught.value)


@every_loss
@pytest.mark.parametrize("zeros", [True, False])
def test_losses_and_their_gradients_are_finite_for_zeros_and_empty_clusters(name: str, zeros: bool) -> None:
    values = given(name, torch.float32)
    numbers = [key for key in values if key not in ("labels", "present")]
    for key in numbers:
        values[key] = (values[key] * (not zeros or key == "t")).requires_grad_()
    found = entries(LOSSES[name][0](**values))
    assert found.isfinite().all()
    if found.requires_grad and name not in CONSTANTS:
        for gradient in torch.autograd.grad(found.sum(), [values[key] for key in numbers], allow_unused=True):
            assert gradient is None or gradient.isfinite().all()


def test_a_target_of_an_empty_cluster_and_an_empty_row_has_zeros_there() -> None:
    found = student_t.target_distribution(torch.tensor(SHARES, dtype=torch.uint8))
    assert found.tolist() == SHARES


@pytest.mark.parametrize("name", [name for name, (_, arguments) in LOSSES.items() if "labels" in arguments])
@pytest.mark.parametrize(
    "labels", [[-1, 0, 1, 0], [3, 0, 1, 0], [0.0, 1, 1, 0], [True, False, True, False], [0, 1, 1], [OWN]], ids=str
)
def test_labels_that_are_no_clusters_are_refused(name: str, labels: list) -> None:
    with pytest.raises(UserError, match=r"^labels must be (in \[0, K=3\)|integers of shape \(4,\))") as caught:
        LOSSES[name][0](**given(name, torch.float32, labels=torch.tensor(labels)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan")])
def test_degrees_of_freedom_that_are_not_positive_are_refused(alpha: float) -> None:
    with pytest.raises(UserError, match="alpha must be > 0, got"):
        student_t.soft_assignment(torch.ones(2, 2), torch.ones(2, 2), alpha)
