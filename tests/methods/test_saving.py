"""Saved methods: what the common suite's one fit of every method does not show."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits

from deepclust.errors import UserError
from deepclust.methods import _saving, load, restore
from deepclust.training.pretrain import pretrain
from tests.networks import network_of

X = load_digits().data[:300].astype(np.float32) / 16
NEW = load_digits().data[300:600].astype(np.float32) / 16


def kmeans(**settings: Any) -> Any:
    return load("kmeans")(5, n_init=1, **{"random_state": 0, **settings})


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "spherical"])
def test_mixtures_of_every_covariance_are_restored(covariance: str, tmp_path: Path) -> None:
    method: Any = load("gmm")(5, covariance=covariance, regularization=0.01, random_state=0).fit(X)
    method.save(tmp_path)
    np.testing.assert_array_equal(restore(tmp_path).predict(NEW), method.predict(NEW))


@pytest.mark.parametrize("settings", [{"network": "conv", "channels": [4, 8]}, {"batch_norm": True}], ids=repr)
def test_networks_of_every_kind_are_restored(settings: dict[str, Any], tmp_path: Path) -> None:
    read = network_of({"n_embedding": 5, "epochs": 1, "batch_size": 32} | settings)
    network, _ = pretrain(torch.from_numpy(X), read, seed=0, image_shape=(1, 8, 8))
    method: Any = load("idec")(5, epochs=1, n_init=1, device="cpu", random_state=0).fit(X, network=network)
    method.save(tmp_path)
    found: Any = restore(tmp_path)
    assert found.network_.image_shape == (1, 8, 8)
    assert found.network_.facts["settings"] == read.as_dict()
    np.testing.assert_array_equal(found.predict(NEW), method.predict(NEW))


@pytest.mark.parametrize("name", ["kmeans", "idec"])
def test_another_process_predicts_the_same(name: str, tmp_path: Path) -> None:
    short: dict[str, Any] = {
        "pretraining": {"hidden": [16], "epochs": 1},
        "epochs": 1,
        "n_init": 1,
        "random_state": 0,
        "device": "cpu",
    }
    settings: dict[str, Any] = {key: value for key, value in short.items() if key in load(name)().get_params()}
    method: Any = load(name)(5, **settings).fit(X)
    method.save(tmp_path)
    np.save(tmp_path / "X.npy", NEW, allow_pickle=False)
    program = """
import sys
import numpy as np
from deepclust.methods import restore
labels = restore(sys.argv[1]).predict(np.load(sys.argv[2], allow_pickle=False))
print(labels.tolist(), "torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), str(tmp_path / "X.npy")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{method.predict(NEW).tolist()} {name == 'idec'}\n"


def test_method_fitted_on_a_gpu_predicts_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"pretraining": {"hidden": [16], "epochs": 1}, "n_init": 1, "random_state": 0}
    method: Any = load("ae_kmeans")(5, device="cpu", **settings).fit(X)
    expected = method.predict(NEW)
    method.device, method.device_ = "cuda", "cuda"
    method.save(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found: Any = restore(tmp_path)
    assert (found.device, found.device_) == ("cuda", "cpu")
    np.testing.assert_array_equal(found.predict(NEW), expected)


def test_columns_of_a_data_frame_keep_their_names(tmp_path: Path) -> None:
    table = pd.DataFrame(X[:, 18:22], columns=list("abcd"))
    method = kmeans().fit(table)
    method.save(tmp_path)
    found: Any = restore(tmp_path)
    np.testing.assert_array_equal(found.predict(table), method.labels_)
    with pytest.raises(ValueError, match="feature names should match"):
        found.predict(table.rename(columns={"a": "z"}))


def test_numbers_of_numpy_are_settings_like_others_and_a_generator_is_not_kept(tmp_path: Path) -> None:
    for random_state, kept in [(np.int64(3), 3), (np.random.RandomState(3), None), (None, None)]:
        method = load("kmeans")(np.int64(5), random_state=random_state).fit(X)
        method.save(tmp_path)
        found: Any = restore(tmp_path)
        assert (found.n_clusters, found.random_state) == (5, kept)
        np.testing.assert_array_equal(found.labels_, method.labels_)


def test_a_method_saved_over_another_replaces_it(tmp_path: Path) -> None:
    load("ward")(3).fit(X).save(tmp_path)
    method = kmeans().fit(X)
    method.save(tmp_path)
    np.testing.assert_array_equal(restore(tmp_path).predict(NEW), method.predict(NEW))


def rewrite(folder: Path, **changes: Any) -> None:
    content, fitted = _saving.read(folder)
    _saving.write(folder, content | changes, fitted)


def test_newer_and_renamed_and_foreign_files_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kmeans().fit(X).save(tmp_path)
    with monkeypatch.context() as later:
        later.setattr(_saving, "FORMAT", _saving.FORMAT + 1)
        kmeans().fit(X).save(tmp_path / "later")
    with pytest.raises(UserError, match="format must be at most 1, got 2: a newer deepclust saved it"):
        restore(tmp_path / "later")

    rewrite(tmp_path, method="kmediods")
    with pytest.raises(UserError, match="unknown method 'kmediods'; the methods are"):
        restore(tmp_path)
    rewrite(tmp_path, method="kmeans", parameters={"n_clusters": 5, "n_starts": 2})
    with pytest.raises(UserError, match=r"saved by another version of deepclust \(.*'n_starts'\); fit again"):
        restore(tmp_path)
    for text in ("[]", "{}", '{"format": "1"}', json.dumps({"format": 1}), "\udcff"):
        (tmp_path / "model.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(UserError, match="not as they were saved"):
            restore(tmp_path)


@pytest.mark.parametrize("place", ["nowhere", "file"])
def test_a_folder_without_a_method_is_named(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=rf"{place}/model.safetensors: .+; name a folder that a method was saved in"):
        restore(tmp_path / place)


def test_a_file_in_the_folders_place_is_kept(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("mine")
    with pytest.raises(UserError, match=r"model is a file; name a folder, in which two files are written$"):
        load("kmeans")(n_clusters=2).fit([[0.0], [1], [2]]).save(tmp_path / "model")
    assert (tmp_path / "model").read_text() == "mine"


def test_a_class_that_restore_would_not_find_is_not_saved(tmp_path: Path) -> None:
    class Mine(load("ward")):  # type: ignore[misc]
        pass

    with pytest.raises(UserError, match=r"Mine is not a file of deepclust\.methods"):
        Mine(3).fit(X).save(tmp_path)
