"""The promises of every method of the package, found by its file: a new one is held to them without being named."""

import copy
import inspect
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import estimator_checks_generator
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils._python_dispatch import TorchDispatchMode

from deepclust import execution, methods
from deepclust.errors import NotApplicable, SeedFailed, UserError
from deepclust.files import read_array, write_array
from deepclust.graph.knn import knn_graph
from deepclust.graph.weights import gaussian_weights
from deepclust.methods.base import Clusterer
from deepclust.settings import checked, defaults_of, meanings_of, names_of
from deepclust.training import loop
from deepclust.training.replay import Replayed
from deepclust.training.runtime import Runtime, progress
from tests.recorder import Recorder

N, D, K = 60, 5, 3
TINY = {"hidden": [16], "n_embedding": 3, "epochs": 3, "batch_size": 32}  # a network pretrained in milliseconds

NAMES = methods.names()
READERS = {
    "graph": [name for name in NAMES if methods.load(name).reads_graph],
    "network": [name for name in NAMES if methods.load(name).default_network],
}
TRAINED = [name for name in NAMES if "torch" in methods.load(name).libraries]
SOFT = [name for name in NAMES if hasattr(methods.load(name), "_predict_proba")]
WITHOUT_PREDICT = [name for name in NAMES if methods.load(name).why_no_predict]

# scikit-learn's checks that a method does not pass: {method: {check: why}}
EXPECTED_FAILURES: dict[str, dict[str, str]] = {
    "gnmf": {"check_clustering": "its samples have negative entries, whatever the tag positive_only says"},
    "depict": {"check_clustering": "its softmax layer has learnt little from k-means in a few steps of Adam at 1e-4"},
    "cc": {"check_clustering": "its heads have learnt little from their random start in a few steps of Adam at 3e-4"},
    "dynae": dict.fromkeys(
        ("check_fit_idempotent", "check_fit_check_is_fitted", "check_n_features_in"),
        "data of about 100: 100 times their squared error is too steep for SGD at the default rate",
    ),
}
for _name in SOFT:
    if methods.load(_name).sparse_samples != "refused":
        EXPECTED_FAILURES.setdefault(_name, {}).update(
            dict.fromkeys(
                ("check_estimator_sparse_array", "check_estimator_sparse_matrix"),
                "asks for a classifier's tags wherever there is predict_proba; our own tests of sparse samples do not",
            )
        )
every_method = pytest.mark.parametrize("name", NAMES)


def settings_of(name: str) -> set[str]:
    return set(inspect.signature(methods.load(name)).parameters)


def make(name: str, n_clusters: int = K, **settings: Any) -> Any:
    short: dict[str, Any] = {"pretraining": TINY, "epochs": 4, "n_init": 3, "width": 32}
    given = {key: value for key, value in short.items() if key in settings_of(name)}
    return methods.load(name)(n_clusters, **{"random_state": 0, "device": "cpu", **given, **settings})


def blobs(spread: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Return X (N, D) in [0, 1], float32 values held in float64, and the three groups they were drawn from."""
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(N) % K)
    X = np.eye(K, D)[y] * 0.6 + 0.2 + spread * rng.normal(size=(N, D))
    return X.clip(0, 1).astype(np.float32).astype(np.float64), y


def results(method: Any) -> dict[str, np.ndarray]:
    found = ((key, getattr(method, key, None)) for key in ("labels_", "embedding_", "cluster_centers_"))
    return {key: value for key, value in found if value is not None}


def assert_same(found: Any, expected: Any) -> None:
    a, b = results(found), results(expected)
    assert a.keys() == b.keys()
    for key, value in a.items():
        np.testing.assert_array_equal(value, b[key], err_msg=key)


FITTED: dict[str, Any] = {}


@pytest.fixture
def fitted(name: str) -> Any:
    """Return a method fitted to the blobs, once for all tests that only look at it."""
    if name not in FITTED:
        FITTED[name] = make(name).fit(blobs()[0])
    return FITTED[name]


# ------------------------------------------------------------------------------------------------- scikit-learn


def make_shorter(name: str) -> Any:
    """Return a method trained for half as long, but for the two whose outcome in a check would be another."""
    short: dict[str, Any] = {"pretraining": TINY | {"epochs": 1}, "epochs": 2, "period_epochs": 2}
    short = short if name not in ("dynae", "tell") else {}
    return make(name, 2, **{key: value for key, value in short.items() if key in settings_of(name)})


@contextmanager
def equal_arrays_fitted_once(cls: Any) -> Iterator[None]:
    """Have a fit of an array that was fitted before, with the same settings and seed, end as it ended then.

    A second fit that computes is the matter of `test_refit_equals_fit_for_equal_generators`.
    """
    fit, known = cls._fit, dict[Any, dict[str, Any]]()

    def fit_or_recall(self: Any, X: Any, **inputs: Any) -> None:
        if sp.issparse(X) or inputs:
            return fit(self, X, **inputs)  # type: ignore[no-any-return]
        key = (repr(self), self._seed, X.dtype, X.shape, X.tobytes())
        if key not in known:
            fit(self, X)
            parameters = self.get_params(deep=False)
            known[key] = copy.deepcopy({name: value for name, value in vars(self).items() if name not in parameters})
        vars(self).update(copy.deepcopy(known[key]))
        return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cls, "_fit", fit_or_recall)
        yield


def checks(name: str) -> Iterator[Any]:
    """Yield scikit-learn's checks of a method, each with the method; those that fail as expected are marked."""
    pairs: Iterator[Any] = estimator_checks_generator(
        make_shorter(name), expected_failed_checks=EXPECTED_FAILURES.get(name, {}), mark="xfail", xfail_strict=True
    )
    return pairs


def name_of(given: Any) -> str:
    """Return the short name of a method or a check: scikit-learn's own name of a test has all settings in it."""
    return type(given).__name__ if isinstance(given, Clusterer) else getattr(given, "func", given).__name__


@pytest.mark.parametrize(("estimator", "check"), [pair for name in NAMES for pair in checks(name)], ids=name_of)
@pytest.mark.filterwarnings("ignore")  # of duplicates and the like, which the checks ask for
def test_scikit_learns_checks_pass(estimator: Any, check: Callable[[Any], None]) -> None:
    if "idempotent" in str(check):
        check(estimator)
    else:  # of one array in many formats, or by one public method after the other
        with equal_arrays_fitted_once(type(estimator)):
            check(estimator)


def test_expected_failures_name_methods_that_exist() -> None:
    assert set(EXPECTED_FAILURES) <= set(NAMES)


# ------------------------------------------------------------------------------------------------------- on a GPU

WAITING = {  # operations whose values or shapes Python asks for, so that it waits for a GPU
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.masked_select.default,
    torch.ops.aten._unique2.default,
    torch.ops.aten.repeat_interleave.Tensor,
}


class _Unwaiting(TorchDispatchMode):
    """Refuses what a GPU's recording would refuse."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        mask = func is torch.ops.aten.index.Tensor and any(i is not None and i.dtype == torch.bool for i in args[1])
        if func in WAITING or mask:
            raise RuntimeError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", [name for name in TRAINED if "epochs" in settings_of(name)])
def test_steps_can_be_recorded_and_replayed(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder(_Unwaiting)
    monkeypatch.setattr(loop, "Replayed", lambda step, module, _: Replayed(step, module, recorder))
    small = {key: 4 for key in ("batch_size",) if key in settings_of(name)}
    again = make(name, **small).fit(blobs()[0])
    assert recorder.replays
    assert caplog.text == ""
    monkeypatch.undo()
    expected = make(name, **small).fit(blobs()[0])
    assert_same(again, expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", [name for name in TRAINED if "epochs" in settings_of(name)])
def test_a_card_trains_as_the_cpu_does_by_replayed_steps(name: str, caplog: pytest.LogCaptureFixture) -> None:
    small = {key: 4 for key in ("batch_size",) if key in settings_of(name)}
    with Runtime(threads=1).open():
        cpu, card = (make(name, device=device, **small).fit(blobs(0.3)[0]) for device in ("cpu", "cuda"))
    assert caplog.text == ""
    rel = 0.05 if name == "hybrid" else 1e-3  # whose edges are nearest neighbours: last bits decide between some
    assert card.trace_[0]["loss"] == pytest.approx(cpu.trace_[0]["loss"], rel=rel)


# ---------------------------------------------------------------------------------------------------- repetition


@every_method
def test_refit_equals_fit_for_equal_generators(name: str) -> None:
    X, _ = blobs(0.2)
    expected = make(name, random_state=np.random.RandomState(7)).fit(X)
    before = make(name).fit(blobs(0.3)[0])
    assert_same(before.set_params(random_state=np.random.RandomState(7)).fit(X), expected)


def global_states() -> tuple[object, ...]:
    return torch.get_rng_state().tolist(), repr(np.random.get_state()), random.getstate()  # noqa: NPY002


@every_method
def test_global_random_generators_are_not_touched_and_numbers_of_numpy_are_settings(name: str, fitted: Any) -> None:
    before = global_states()
    method = make(name, random_state=np.int32(0)).set_params(n_clusters=np.int64(K)).fit(blobs()[0])
    assert_same(method, fitted)
    if hasattr(method, "predict"):
        method.predict(blobs()[0])
    assert global_states() == before


@every_method
def test_classes_are_not_looked_at(name: str, fitted: Any) -> None:
    X, y = blobs()
    method = make(name)
    np.testing.assert_array_equal(method.fit_predict(X, y), fitted.labels_)
    assert_same(method, fitted)


@every_method
def test_float32_and_float64_agree_and_stay_as_they_are(name: str, fitted: Any) -> None:
    X32: np.ndarray = blobs()[0].astype(np.float32)
    before = X32.copy()
    found = make(name).fit(X32)
    np.testing.assert_array_equal(X32, before)  # float64, read-only: test_fits_are_quiet_in_a_process_of_their_own
    np.testing.assert_array_equal(found.labels_, fitted.labels_)
    for key in ("embedding_", "cluster_centers_"):
        if hasattr(fitted, key):
            np.testing.assert_allclose(getattr(found, key), getattr(fitted, key), atol=1e-5)


# ------------------------------------------------------------------------------------------------------- results


@every_method
def test_labels_are_one_cluster_number_a_sample(fitted: Any) -> None:
    assert fitted.labels_.shape == (N,)
    assert fitted.labels_.dtype == np.int64
    assert fitted.labels_.min() >= 0
    assert fitted.labels_.max() < K


@every_method
def test_embedding_and_centers_have_the_shapes_they_claim(fitted: Any) -> None:
    n_features = D
    if hasattr(fitted, "embedding_"):
        assert fitted.embedding_.shape[0] == N
        assert np.isfinite(fitted.embedding_).all()
        n_features = fitted.embedding_.shape[1]
    if hasattr(fitted, "cluster_centers_"):
        assert fitted.cluster_centers_.shape == (K, n_features)
        assert np.isfinite(fitted.cluster_centers_).all()


@every_method
def test_run_record_can_be_written(fitted: Any) -> None:
    assert type(fitted.n_iter_) is int
    assert fitted.n_iter_ >= 1
    assert type(fitted.converged_) is bool
    json.dumps([fitted.n_iter_, fitted.converged_], allow_nan=False)


@every_method
def test_trace_has_a_row_an_epoch(fitted: Any) -> None:
    trace = getattr(fitted, "trace_", [])
    for row in trace:
        assert {"phase", "epoch", "loss"} <= row.keys()
    steps = [(row["phase"], row["epoch"]) for row in trace]
    assert len(set(steps)) == len(steps)
    json.dumps(trace, allow_nan=False)


@every_method
@pytest.mark.parametrize("n_clusters", [1, N])
def test_as_many_clusters_as_samples_and_one_are_possible(name: str, n_clusters: int) -> None:
    labels = make(name, n_clusters).fit(blobs(0.2)[0]).labels_
    assert set(labels) <= set(range(n_clusters))


# ------------------------------------------------------------------------------------------------------- predict


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WITHOUT_PREDICT])
def test_prediction_of_the_training_rows_is_the_labels(name: str, fitted: Any) -> None:
    X, _ = blobs()
    labels = fitted.predict(X)
    np.testing.assert_array_equal(labels, fitted.labels_)
    assert labels.dtype == np.int64
    order = np.random.default_rng(0).permutation(N)[:7]
    np.testing.assert_array_equal(fitted.predict(X[order]), fitted.labels_[order])
    np.testing.assert_array_equal(fitted.predict(X.astype(np.float32)), fitted.labels_)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WITHOUT_PREDICT])
def test_prediction_changes_nothing(name: str, fitted: Any) -> None:
    before = {key: value.copy() for key, value in results(fitted).items()}
    fitted.predict(1 - blobs()[0])
    for key, value in results(fitted).items():
        np.testing.assert_array_equal(value, before[key])


@pytest.mark.parametrize("name", WITHOUT_PREDICT)
def test_method_without_prediction_says_why(name: str, fitted: Any) -> None:
    assert not hasattr(fitted, "predict")
    with pytest.raises(AttributeError) as caught:
        fitted.predict(blobs()[0])
    told = [str(error) for error in (caught.value, caught.value.__cause__)]
    assert any(fitted.why_no_predict in text and "cannot label new samples" in text for text in told)


# -------------------------------------------------------------------------------------------- codes, soft assignments


@pytest.mark.parametrize("name", TRAINED)
def test_code_of_the_training_rows_is_the_embedding(name: str, fitted: Any, tmp_path: Path) -> None:
    X, _ = blobs()
    codes = fitted.transform(X)
    assert codes.dtype == np.float32
    np.testing.assert_allclose(codes, fitted.embedding_, atol=1e-5)
    np.testing.assert_allclose(fitted.transform(X[:7]), codes[:7], atol=1e-5)
    fitted.save(tmp_path)
    np.testing.assert_array_equal(methods.restore(tmp_path).transform(new_samples()), fitted.transform(new_samples()))
    assert list(fitted.get_feature_names_out()) == [
        f"{type(fitted).__name__.lower()}{i}" for i in range(codes.shape[1])
    ]
    with pytest.raises(NotFittedError):
        make(name).transform(X)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in TRAINED])
def test_methods_without_a_network_have_no_code(fitted: Any) -> None:
    assert not hasattr(fitted, "transform")


@pytest.mark.parametrize("name", SOFT)
def test_soft_assignments_sum_to_one_and_the_largest_is_the_label(name: str, fitted: Any, tmp_path: Path) -> None:
    X, _ = blobs()
    shares = fitted.predict_proba(X)
    assert shares.shape == (N, K)
    assert shares.min() >= 0
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(shares.argmax(axis=1), fitted.predict(X))
    fitted.save(tmp_path)
    found = methods.restore(tmp_path).predict_proba(new_samples())
    np.testing.assert_array_equal(found, fitted.predict_proba(new_samples()))
    with pytest.raises(NotFittedError):
        make(name).predict_proba(X)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in SOFT])
def test_methods_without_soft_assignments_have_no_such_function(fitted: Any) -> None:
    assert not hasattr(fitted, "predict_proba")


# ------------------------------------------------------------------------------------------------ saved and restored


def new_samples() -> np.ndarray:
    return np.random.default_rng(5).random((200, D))  # between the blobs and beyond them


def assert_equal(found: Any, expected: Any) -> None:
    """Hold attributes equal in type, dtype and every bit; modules by their weights."""
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_equal(found[key], expected[key])
    elif isinstance(expected, torch.nn.Module):
        assert_equal(dict(found.state_dict()), dict(expected.state_dict()))
    elif isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    else:
        assert torch.equal(found, expected) if isinstance(expected, torch.Tensor) else found == expected


@every_method
def test_restored_method_is_the_one_saved(name: str, fitted: Any, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    found: Any = methods.restore(tmp_path / "model")
    assert type(found) is type(fitted)
    assert found.get_params() == fitted.get_params()
    names = {key for key in vars(fitted) if key.endswith("_")} - {"extras_"}
    assert {key for key in vars(found) if key.endswith("_")} == names >= {"labels_", "n_features_in_"}
    for key in names:
        assert_equal(getattr(found, key), getattr(fitted, key))
    assert hasattr(found, "predict") == (name not in WITHOUT_PREDICT)
    if name not in WITHOUT_PREDICT:
        assert_equal(found.predict(new_samples()), fitted.predict(new_samples()))
        with pytest.raises(ValueError, match=f"expecting {D} features"):
            found.predict(new_samples()[:, 1:])
    assert_same(found.fit(blobs()[0]), fitted)


@every_method
def test_saved_files_are_tensors_and_json_and_the_same_every_time(fitted: Any, tmp_path: Path) -> None:
    fitted.save(tmp_path / "once")
    methods.restore(tmp_path / "once").save(tmp_path / "twice")
    once, twice = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in ("once", "twice"))
    assert once.keys() == {"model.json", "model.safetensors"}
    assert once == twice
    content = json.loads(once["model.json"])
    assert content["class"] == type(fitted).__name__
    assert content["parameters"] == fitted.get_params(deep=False)
    assert content["fitted"]["n_features_in_"] == D
    assert content["versions"].keys() == set(fitted.libraries)


@every_method
@pytest.mark.parametrize("file", ["model.json", "model.safetensors"])
def test_files_not_as_they_were_saved_are_refused(name: str, file: str, fitted: Any, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    path = tmp_path / file
    saved = path.read_bytes()
    rng = np.random.default_rng(0)
    flipped = bytearray(saved)
    flipped[rng.integers(len(saved))] ^= 1 << rng.integers(7)
    for broken in (bytes(flipped), saved[: rng.integers(len(saved))], b"", saved + saved):
        path.write_bytes(broken)
        with pytest.raises(UserError, match=r"not as they were saved; copy both again, or fit again") as caught:
            methods.restore(tmp_path)
        assert "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(UserError, match=rf"{file}: No such file or directory; name a folder that a method was saved"):
        methods.restore(tmp_path)


@every_method
def test_method_that_was_not_fitted_neither_saves_nor_predicts(name: str, tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        make(name).save(tmp_path / "model")
    assert not (tmp_path / "model").exists()
    if name not in WITHOUT_PREDICT:
        with pytest.raises(NotFittedError):
            make(name).predict(blobs()[0])


# -------------------------------------------------------------------------------------------------- quiet, or a bar


def test_fits_are_quiet_in_a_process_of_their_own() -> None:
    """The process is a new one, since torch warns once a process; read-only arrays bring a warning of its out."""
    program = """
import numpy as np
from tests.methods.test_every_method import NAMES, blobs, make
X = blobs()[0]
X.flags.writeable = False
for name in NAMES:
    make(name).fit(X)
"""
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", TRAINED)
def test_progress_is_shown_on_request_and_changes_nothing(
    name: str, fitted: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    with progress():
        found = make(name).fit(blobs()[0])
    out, err = capfd.readouterr()
    assert out == ""
    for phase in {row["phase"] for row in getattr(found, "trace_", [])} or {"pretrain"}:
        assert "%|" in err
        assert phase in err or phase == "cluster"  # ULHE-DC's stages are one phase of its trace
    assert_same(found, fitted)


def test_progress_is_a_setting_too(capfd: pytest.CaptureFixture[str]) -> None:
    make("dec", verbose=True).fit(blobs()[0])
    assert "%|" in capfd.readouterr().err


def test_no_variable_of_scikit_learn_lets_values_through_that_are_not_finite() -> None:
    program = """
import numpy as np
from deepclust.methods import load
try:
    load("kmeans")(2).fit(np.array([[0.0], [np.nan], [1.0]]))
except ValueError as error:
    print(error)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "SKLEARN_ASSUME_FINITE": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert "contains NaN" in done.stdout


@pytest.mark.parametrize("name", TRAINED)
def test_a_librarys_error_around_the_training_fails_the_seed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise np.linalg.LinAlgError("the algorithm\nfailed to converge")

    method = make(name)
    monkeypatch.setattr(type(method), "_encode", broken)
    with pytest.raises(SeedFailed, match=rf"^{type(method).__name__} broke down, LinAlgError: the algorithm failed to"):
        method.fit(blobs()[0])


@pytest.mark.parametrize("name", TRAINED)
def test_a_device_without_float64_is_named_in_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64.")

    method = make(name)
    monkeypatch.setattr(type(method), "_encode", refuse)
    with pytest.raises(UserError, match=rf"^{type(method).__name__} computes in float64, .* use device='cpu'$"):
        method.fit(blobs()[0])


@pytest.mark.parametrize("name", TRAINED)
def test_batches_of_one_sample_under_batch_norm_fail_the_seed(name: str) -> None:
    with pytest.raises(SeedFailed, match=r"phase '(pretrain|layer1)' has batches of one sample"):
        make(name, pretraining=TINY | {"network": "mlp", "batch_norm": True, "batch_size": 1}).fit(blobs()[0])


@every_method
@pytest.mark.parametrize("value", [1e101, -1e200, 1e-101])
def test_values_whose_squares_float64_does_not_hold_are_refused(name: str, value: float, tmp_path: Path) -> None:
    X = np.zeros((N, D))
    X[::7, 2] = value
    write_array(tmp_path / "X.npy", X)
    for rows in (X, read_array(tmp_path / "X.npy", mmap=True)):
        with pytest.raises(UserError, match=r"X must have entries of about 1, .* got 1e.*; rescale it"):
            make(name).fit(rows)


# -------------------------------------------------------------------------------------------------------- errors


@every_method
def test_more_clusters_than_samples_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=rf"n_clusters must be in \[1, n_samples={N}\], got {N + 1}"):
        make(name, N + 1).fit(blobs()[0])


@every_method
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(name: str, value: float) -> None:
    X, _ = blobs()
    X[3, 2] = value
    with pytest.raises(ValueError, match=r"contains (NaN|infinity)"):
        make(name).fit(X)


@every_method
@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("n_clusters", 0, "n_clusters: Input should be greater than or equal to 1, got 0"),
        ("n_clusters", 2.0, "n_clusters: Input should be a valid integer, got 2.0"),
        ("n_clusters", True, "n_clusters: Input should be a valid integer, got True"),
        ("device", "tpu", "device: Input should be 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps', got 'tpu'"),
        ("device", "cuda:x", "device: Input should be 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps', got 'cuda:x'"),
        ("verbose", "loud", "verbose: Input should be a valid boolean, got 'loud'"),
    ],
)
def test_settings_out_of_range_are_named(name: str, setting: str, value: Any, message: str) -> None:
    method = make(name, **{setting: value})
    with pytest.raises(UserError, match=re.escape(f"{type(method).__name__}: {message}")):
        method.fit(blobs()[0])


@every_method
def test_a_random_state_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"^random_state must be an integer in \[0, 2\^32\), .*, got 'x'$"):
        make(name, random_state="x").fit(blobs()[0])


@every_method
def test_true_is_no_number(name: str) -> None:
    cls = methods.load(name)
    numbers = [key for key, value in defaults_of(cls).items() if type(value) in (int, float)]
    assert numbers
    for setting in numbers:
        with pytest.raises(UserError, match=f"{setting}: Input should be a valid"):
            make(name, **{setting: True}).fit(blobs()[0])


@every_method
def test_inputs_a_method_does_not_read_are_refused(name: str) -> None:
    for kind in READERS:
        if name not in READERS[kind]:
            with pytest.raises(TypeError, match=rf"got \['{kind}'\]"):
                make(name).fit(blobs()[0], **{kind: None})
    with pytest.raises(TypeError, match=r"got \['classes'\]"):
        make(name).fit(blobs()[0], classes=None)


# -------------------------------------------------------------------------------------------------- declarations


@every_method
def test_every_setting_has_a_meaning_a_default_in_its_range_and_keeps_its_value(name: str) -> None:
    cls = methods.load(name)
    parameters = inspect.signature(cls).parameters
    assert list(parameters) == names_of(cls)
    assert set(cls.not_in_params) <= set(names_of(cls))
    assert [key for key, found in parameters.items() if found.kind is not found.KEYWORD_ONLY] == ["n_clusters"]
    assert all(meanings_of(cls).values())
    for setting, default in defaults_of(cls).items():
        assert checked(cls, setting, default) == default
        assert getattr(cls, setting) is default  # what the class inherits is what its constructor says
    assert clone(make(name)).get_params() == make(name).get_params()


@every_method
def test_method_says_where_it_comes_from_and_what_it_is(name: str) -> None:
    cls = methods.load(name)
    assert re.search(r"[A-Z].+\d{4}|baseline of", cls.paper), "authors and year"
    assert cls.__doc__
    assert not cls.__doc__.startswith((cls.__name__ + "(", str(Clusterer.__doc__))), "a docstring of its own"


# -------------------------------------------------------------------------------------- inputs made by other stages


@pytest.mark.parametrize("name", READERS["graph"])
@pytest.mark.parametrize("n_neighbors", [4, 15])
def test_graph_handed_in_gives_the_labels_of_the_graph_it_builds(name: str, n_neighbors: int) -> None:
    X, _ = blobs(0.2)
    graph = gaussian_weights(knn_graph(X, n_neighbors), bandwidth="local")
    before = graph.copy()
    handed, built = make(name).fit(X, graph=graph), make(name, n_neighbors=n_neighbors).fit(X)
    assert_same(handed, built)
    np.testing.assert_array_equal(graph.toarray(), before.toarray())


@pytest.mark.parametrize("name", READERS["graph"])
def test_graph_handed_in_is_the_one_used(name: str) -> None:
    X, y = blobs(0.2)
    same = (y[:, None] == y) & ~np.eye(N, dtype=bool)
    graph = gaussian_weights(knn_graph(X, 10), bandwidth="local")
    by_class = type(graph)(same.astype(np.float64))
    given = make(name).fit(X, graph=by_class)
    if name in READERS["network"]:  # it may use the code's own graph as well, and find the same labels
        own = make(name).fit(X)
        assert not all(np.array_equal(getattr(given, part), getattr(own, part)) for part in ("labels_", "embedding_"))
        return
    pairs = {(a, b) for a, b in zip(y, given.labels_, strict=True)}
    assert len(pairs) == K  # another name for every class, and no mixture


@every_method
def test_nodes_of_a_graph_are_clustered_without_features_or_refused(name: str) -> None:
    X, _ = blobs()
    method, inputs = make(name), {}
    if method.reads_graph:
        inputs["graph"] = gaussian_weights(knn_graph(X, 4), bandwidth="local")
    if not method.needs_samples:
        expected = make(name).fit(X, **inputs).labels_
        assert np.array_equal(method.fit(np.empty((N, 0)), **inputs).labels_, expected)
        inputs = {}
    with pytest.raises(NotApplicable, match=r"reads samples, got 0 feature\(s\) \(shape=\(60, 0\)\)"):
        method.fit(np.empty((N, 0)), **inputs)


@pytest.mark.parametrize("name", READERS["network"])
def test_network_handed_in_is_not_changed_and_may_have_another_precision(name: str, fitted: Any) -> None:
    X, _ = blobs()
    network = fitted.network_
    before = {key: value.clone() for key, value in network.state_dict().items()}
    found = make(name).fit(X, network=network)
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert found.network_ is not network
    double = copy.deepcopy(network).double()
    assert_same(make(name).fit(X, network=double), found)
    assert all(value.dtype != torch.float32 for value in double.state_dict().values())


COMPLETE = np.ones((N, N)) - np.eye(N)
FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "dense": np.asarray,
    "list": np.ndarray.tolist,
    "integers": lambda W: sp.csr_matrix(W.astype(np.int8)),
    "bool": lambda W: sp.csr_matrix(W > 0),
    "float32": lambda W: sp.csr_matrix(W.astype(np.float32)),
    "zeros stored": lambda W: sp.csr_matrix((W.ravel(), np.indices(W.shape).reshape(2, -1)), shape=W.shape),
    "halves twice": lambda W: sp.coo_array((np.tile(W[W > 0] / 2, 2), np.tile(np.nonzero(W), 2)), shape=W.shape),
    **{kind: getattr(sp, f"{kind}_matrix") for kind in ("bsr", "coo", "csc", "dok", "lil")},
    **{f"{kind} array": getattr(sp, f"{kind}_array") for kind in ("csr", "coo")},
}


def entries(graph: Any) -> np.ndarray:
    return np.array(sp.csr_array(graph).toarray())


@pytest.mark.parametrize("name", READERS["graph"])
def test_graph_may_come_in_any_form(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = blobs(0.2)
    weights = (y[:, None] == y) * COMPLETE
    expected = make(name).fit(X, graph=sp.csr_matrix(weights))
    read: list[Any] = []
    monkeypatch.setattr(type(expected), "_fit", lambda self, X, graph, **_: read.append(graph))
    monkeypatch.setattr(type(expected), "_check_labels", lambda self, n_samples: None)
    for form in FORMS.values():
        graph = form(weights)
        before = entries(graph)
        make(name).fit(X, graph=graph)
        np.testing.assert_array_equal(entries(graph), before)
    assert len(read) == len(FORMS)
    for found in read:
        assert type(found) is sp.csr_matrix
        assert found.dtype == np.float64
        assert found.has_canonical_format
        assert found.nnz == np.count_nonzero(weights)
        np.testing.assert_array_equal(found.toarray(), weights)


def changed(i: int, j: int, value: float) -> np.ndarray:
    W = COMPLETE.copy()
    W[i, j] = value
    return W


@pytest.mark.parametrize("name", READERS["graph"])
@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (COMPLETE[1:, 1:], r"shape \(N, N\) = \(60, 60\), a node for each sample, got \(59, 59\); make it from"),
        (sp.csr_matrix(COMPLETE[1:]), r"got \(59, 60\)"),
        (np.zeros((N, N)), "have an edge, got none; leave it out"),
        (sp.coo_array((N, N)), "have an edge, got none"),
        (-COMPLETE, "finite weights > 0, got -1.0; drop such edges"),
        (COMPLETE * np.nan, "finite weights > 0, got nan"),
        (np.where(COMPLETE, np.inf, 0), "finite weights > 0, got inf"),
        (COMPLETE * 1e308, "weights of finite sums, got inf for a node; divide them by their largest"),
        (np.ones((N, N)), r"empty diagonal, got self edges; remove them with setdiag\(0\)"),
        (changed(1, 2, 0.5), "symmetric, got w_ij != w_ji; symmetrize it first"),
        (changed(1, 2, 0.0), "symmetric"),
        (COMPLETE.astype(complex), r"a sparse or dense matrix of edge weights, got complex128 of shape \(60, 60\)"),
        (np.ones(N), r"got float64 of shape \(60,\)"),
        ([[0, 1], [1]], "got list"),
        ("graph.npz", "got str"),
        (10, r"got int"),
    ],
)
def test_graph_that_is_none_of_these_samples_is_refused(name: str, graph: Any, message: str) -> None:
    with pytest.raises(UserError, match=f"^graph must .*{message}") as caught:
        make(name).fit(blobs()[0], graph=graph)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", READERS["network"])
def test_network_that_is_none_for_these_samples_is_refused(name: str, fitted: Any) -> None:
    X, _ = blobs()
    with pytest.raises(UserError, match=r"network must take rows of 4 features, as X has, got one for 5; pretrain one"):
        make(name).fit(X[:, 1:], network=fitted.network_)
    for other in (fitted, "mlp", TINY, torch.nn.Linear(D, 3)):
        with pytest.raises(UserError, match=f"network must be an Autoencoder, .* got {type(other).__name__}; leave it"):
            make(name).fit(X, network=other)


# ------------------------------------------------------------------------------------------------- interruption


class Interrupted(Exception):
    pass


@contextmanager
def step_hook(hook: Callable[[int], None]) -> Iterator[list[int]]:
    """Call `hook` with its number after every step of any optimiser; yield the list of numbers so far."""
    steps: list[int] = []

    def after(*_: object) -> None:
        steps.append(len(steps) + 1)
        hook(steps[-1])

    handle = register_optimizer_step_post_hook(after)
    try:
        yield steps
    finally:
        handle.remove()


UNINTERRUPTED: dict[str, tuple[Any, int]] = {}  # the fit and its steps, once for all places of an interruption


@pytest.mark.parametrize(
    ("name", "share"),
    [(name, share) for name in TRAINED for share in (0.7, 1.0)]
    + [(name, 0.3) for name in ("dec", "depict", "jule", "iic", "hybrid")],  # in the pretraining, which most share
)
def test_interrupted_fit_ends_with_the_same_bits(name: str, share: float, tmp_path: Path) -> None:
    X, _ = blobs(0.2)
    longer: dict[str, Any] = {"pretraining": TINY | {"epochs": 12}, "epochs": 12}
    settings = {key: value for key, value in longer.items() if key in settings_of(name)}

    def fit(folder: str = "checkpoints") -> Any:
        with execution.surroundings(methods.load(name), 1, "float32", tmp_path / folder, False):
            return make(name, **settings).fit(X)

    if name not in UNINTERRUPTED:
        with step_hook(lambda _: None) as steps:
            UNINTERRUPTED[name] = fit("others"), len(steps)
    expected, n_steps = UNINTERRUPTED[name]
    last = round(share * n_steps)

    def interrupt(step: int) -> None:
        if step == last:
            raise Interrupted

    with step_hook(interrupt), pytest.raises(Interrupted):
        fit()
    with step_hook(lambda _: None) as rest:
        resumed = fit()
    assert len(rest) <= n_steps * (1 if share < 0.5 else 0.7)  # it went on from a checkpoint
    assert_same(resumed, expected)
    assert resumed.n_iter_ == expected.n_iter_
    assert getattr(resumed, "trace_", None) == getattr(expected, "trace_", None)


@pytest.mark.parametrize("name", [name for name in TRAINED if "epochs" in settings_of(name)])
def test_a_length_in_iterations_is_met_to_the_batch(name: str) -> None:
    asked: dict[str, Any] = {"batch_size": 16, "tolerance": 0.0, "epochs": "7 iterations", "warm_up": 0}
    method = make(name, **{key: value for key, value in asked.items() if key in settings_of(name)})
    assert method.fit(blobs()[0]).n_iter_ == 7


def can_have_no_epochs(name: str) -> bool:
    try:
        checked(methods.load(name), "epochs", 0)
    except UserError:
        return False
    return True


@pytest.mark.parametrize(
    "name", [name for name in TRAINED if "epochs" in settings_of(name) and can_have_no_epochs(name)]
)
def test_no_epochs_leave_the_start(name: str) -> None:
    X = blobs()[0]
    start = make(name, epochs=0).fit(X)
    again = make(name, epochs=0).fit(X, network=start.network_)
    assert start.n_iter_ == again.n_iter_ == 0
    for weights, value in start.network_.state_dict().items():
        assert torch.equal(again.network_.state_dict()[weights], value), weights
    assert_same(again, start)


# ------------------------------------------------------------------------------------------------------- sparse samples


def sparse_blobs() -> np.ndarray:
    X, _ = blobs(0.2)
    return np.where(np.random.default_rng(2).random(X.shape) < 0.3, 0, X) * (np.arange(N) > 1)[:, None]


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, np.float32) for name in NAMES if methods.load(name).sparse_samples != "refused"]
    + [(name, np.float64) for name in ("kmeans", "gnmf", "idec")],  # the precision is the base class's matter
)
def test_sparse_samples_are_clustered_as_dense_ones(name: str, dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    X: np.ndarray = sparse_blobs().astype(dtype)
    expected = make(name).fit(X)
    twice = sp.coo_array((np.tile(X[X != 0] / 2, 2), np.tile(np.nonzero(X), 2)), shape=X.shape)
    found = make(name).fit(twice)
    np.testing.assert_array_equal(found.labels_, expected.labels_)
    for key, value in results(expected).items():
        np.testing.assert_allclose(results(found)[key], value, atol=1e-5)
    read: list[Any] = []
    monkeypatch.setattr(type(expected), "_fit", lambda self, X, **_: read.append(X))
    monkeypatch.setattr(type(expected), "_check_labels", lambda self, n_samples: None)
    kind = sp.csr_matrix if methods.load(name).sparse_samples == "kept" else np.ndarray
    for form in (twice, sp.csr_matrix(X), sp.csr_array(X), sp.csc_array(X), sp.lil_matrix(X)):
        make(name).fit(form)
        assert type(read[-1]) is kind
        assert read[-1].dtype == dtype
        np.testing.assert_array_equal(sp.csr_array(read[-1]).toarray(), X)  # every form is read as the same samples
        assert getattr(read[-1], "has_canonical_format", True)
        if name not in WITHOUT_PREDICT:
            np.testing.assert_array_equal(found.predict(form), found.labels_)
            np.testing.assert_array_equal(found.predict(X), found.labels_)
        for function in {"transform", "predict_proba"} & {*dir(found)}:
            if hasattr(found, function):
                np.testing.assert_allclose(getattr(found, function)(form), getattr(found, function)(X), atol=1e-5)


@every_method
def test_sparse_samples_are_refused_in_one_line_where_they_cannot_be_read(name: str, fitted: Any) -> None:
    X = sp.csr_array(sparse_blobs())
    if methods.load(name).sparse_samples == "refused":
        for call in (make(name).fit, getattr(fitted, "predict", make(name).fit)):
            with pytest.raises(UserError, match=r"reads dense samples alone, got sparse ones; hand in X\.toarray\(\)$"):
                call(X)
    X.data[3] = np.nan
    with pytest.raises(ValueError, match=r"NaN|got sparse ones"):
        make(name).fit(X)


@pytest.mark.parametrize("name", NAMES)
def test_sparse_samples_of_many_features_are_kept_sparse_or_refused(name: str) -> None:
    n = 40
    X = sp.csr_matrix((np.ones(n), (np.arange(n), np.arange(n) // 10)), shape=(n, 10**12))
    if methods.load(name).sparse_samples != "kept":
        with pytest.raises((UserError, NotApplicable), match=r"GiB of memory for 40 samples of 1,0|got sparse"):
            make(name).fit(X)
    elif name != "kmeans":  # whose centres are dense
        assert len(set(zip(make(name, 4).fit(X).labels_, np.arange(n) // 10, strict=True))) == 4


# ------------------------------------------------------------------------------------------------ more than fits memory


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@every_method
def test_samples_in_a_file_stay_there_and_are_clustered_alike(name: str, dtype: type, tmp_path: Path) -> None:
    X: np.ndarray = blobs()[0].astype(dtype)
    write_array(tmp_path / "X.npy", X)
    mapped = read_array(tmp_path / "X.npy", mmap=True)
    found, expected = make(name).fit(mapped), make(name).fit(X.astype(np.float32))
    if dtype is np.float32:
        assert_same(found, expected)
    np.testing.assert_array_equal(found.labels_, expected.labels_)
    if name not in WITHOUT_PREDICT:
        np.testing.assert_array_equal(found.predict(mapped), expected.predict(X.astype(np.float32)))
    spoilt = mapped.copy()
    spoilt[-1, -1] = np.nan
    write_array(tmp_path / "X.npy", spoilt)
    with pytest.raises(ValueError, match="NaN"):
        make(name).fit(read_array(tmp_path / "X.npy", mmap=True))


@pytest.mark.parametrize("name", [name for name in NAMES if hasattr(make(name), "n_neighbors")])
def test_more_neighbours_than_there_are_samples_need_no_memory(name: str) -> None:
    needed = [make(name).set_params(n_neighbors=count)._memory(N, D) for count in (N, 10**9)]
    assert needed[0] == needed[1]


@pytest.mark.parametrize("name", [name for name in NAMES if make(name)._memory(N, D)])
def test_a_fit_that_needs_more_memory_than_there_is_does_not_begin(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method = make(name)
    free = method._memory(N, D) - 1
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
    monkeypatch.setattr(method, "_fit", None)
    with pytest.raises(NotApplicable, match=rf"{type(method).__name__} needs some .* GiB are free; take fewer samples"):
        method.fit(blobs()[0])
