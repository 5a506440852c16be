"""Networks are found by their files: what they declare, how they are made and rebuilt, and that one file is enough."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from deepclust import nets
from deepclust.errors import UserError
from deepclust.settings import defaults_of, meanings_of, names_of
from deepclust.training.pretrain import pretrain

SOURCE = Path(__file__).parents[2] / "src"
SHAPE = (1, 8, 8)
X = torch.from_numpy(load_digits().data[:64] / 16).float()
SHORT = {
    "n_embedding": 3,
    "epochs": 1,
    "layerwise_epochs": 1,
    "batch_size": 32,
    "hidden": [8, 6],
    "channels": [4, 5],
    "kernels": [5, 3],
}
every_network = pytest.mark.parametrize("name", nets.names())

# Each file's declarations that differ from the class that it is a variant of; parameters of the papers, by hand.
DECLARED: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": (500, 500, 2000), "activation": "relu", "batch_norm": False, "initial": "fan_in", "epochs": 50},
    "mlpbn": {"hidden": (500, 500, 2000), "batch_norm": True},
    "conv": {"channels": (32, 64, 128, 256), "batch_norm": True},
    "sigmoid": {"activation": "sigmoid", "initial": "glorot", "layerwise_epochs": 10, "corruption": 0.0}
    | {"learning_rate": 3e-4},
    "sphere": {"norm_weight": 1.0, "activation": "relu"},
    "random": {"initial": "glorot", "epochs": 0, "layerwise_epochs": 0},
    "random_conv": {"channels": (16, 32, 32, 16), "hidden": (256,), "activation": "relu"}
    | {"initial": "glorot", "epochs": 0},
    "sdae": {"initial": "normal", "optimizer": "sgd", "learning_rate": 0.1, "corruption": 0.2, "decay_every": 20_000}
    | {"layerwise_epochs": "50000 iterations", "epochs": "100000 iterations"},
    "strided": {"channels": (32, 64, 128), "kernels": (5, 5, 3), "initial": "glorot"},
    "tell": {"channels": (16, 32, 32, 16), "hidden": (256,), "initial": "fan_in", "epochs": 0},
    "untrained_conv": {"channels": (32, 64, 128, 256), "batch_norm": True, "n_embedding": 128, "epochs": 0},
    "depict": {"channels": (50, 50), "kernels": (4, 5), "corruption": 0.1, "batch_size": 100, "learning_rate": 1e-4},
    "wide_conv": {"channels": (32, 64, 128, 256), "n_embedding": 128, "initial": "glorot", "epochs": 0},
    "jule": {"channels": (50, 50), "n_embedding": 160, "initial": "normal", "epochs": 0},
    "pca": {"n_embedding": 500, "epochs": 0},
    "bernoulli": {"hidden": (500, 500, 2000), "initial": "glorot", "output": None, "activation": "relu"},
}


def short(name: str) -> dict[str, Any]:
    return {setting: value for setting, value in SHORT.items() if setting in names_of(nets.load(name))}


def run(program: str, source: Path = SOURCE, python: str = sys.executable) -> str:
    environment = os.environ | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([python, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_names_are_those_of_the_networks_files() -> None:
    assert {"conv", "mlp", "mlpbn", "random", "random_conv", "sigmoid", "sphere"} <= set(nets.names())


def test_networks_are_described_without_torch_and_scikit_learn() -> None:
    program = """
import sys
from deepclust import nets
from deepclust.settings import checked, defaults_of
for name in nets.names():
    cls = nets.describe(name)
    checked(cls, "augmentation", {"rotation": 5})
    print(name, len(defaults_of(cls)))
print({"torch", "sklearn"} & set(sys.modules))
"""
    *lines, imported = run(program).splitlines()
    assert [line.split()[0] for line in lines] == nets.names()
    assert imported == "set()"


@every_network
def test_description_is_that_of_the_class(name: str) -> None:
    described, cls = nets.describe(name), nets.load(name)
    assert json.dumps(defaults_of(described)) == json.dumps(defaults_of(cls))
    assert meanings_of(described) == meanings_of(cls)
    assert all(meanings_of(cls).values())
    assert described.__doc__ == cls.__doc__
    assert described.needs_images == cls.needs_images


@pytest.mark.parametrize("name", DECLARED)
def test_networks_declare_what_their_papers_say(name: str) -> None:
    found = defaults_of(nets.load(name))
    assert {setting: found[setting] for setting in DECLARED[name]} == DECLARED[name]
    assert (found["augmentation"] is not None) == (name == "conv")


def test_unknown_network_and_setting_are_refused_with_those_there_are() -> None:
    with pytest.raises(UserError, match=f"unknown network 'mpl'; the networks are {', '.join(nets.names())}"):
        nets.make("mpl", {})
    expected = "'hidden' is not a setting of network 'conv'; it takes n_embedding, initial, .*, channels, batch_norm"
    with pytest.raises(UserError, match=expected):
        nets.make("conv", {"hidden": [5]})
    with pytest.raises(UserError, match="'norm_weight' is not a setting of network 'mlp'"):
        nets.make("mlp", {"norm_weight": 1.0})


@pytest.mark.parametrize(
    ("name", "setting", "value", "message"),
    [
        ("mlp", "hidden", [], "hidden: Tuple should have at least 1 item"),
        ("mlp", "hidden", [5, 0], "hidden.1: Input should be greater than or equal to 1, got 0"),
        ("mlp", "epochs", 2.0, "epochs: Input should be a valid integer, got 2.0"),
        ("mlp", "batch_norm", 1, "batch_norm: Input should be a valid boolean, got 1"),
        ("mlp", "activation", "tanh", "activation: Input should be 'relu', 'leaky_relu' or 'sigmoid', got 'tanh'"),
        ("sphere", "norm_weight", -1, "norm_weight: Input should be greater than or equal to 0, got -1"),
        ("conv", "augmentation", {"rotation": True}, "augmentation.rotation: Input should be a valid number, got True"),
        ("conv", "augmentation", {"crop": 1.0}, "augmentation.crop: Input should be less than 1, got 1.0"),
        ("mlp", "augmentation", {"turn": 5}, "augmentation.turn: Extra inputs are not permitted, got 5"),
        ("mlp", "augmentation", True, "augmentation: Input should be a valid dictionary"),
    ],
)
def test_values_are_checked(name: str, setting: str, value: Any, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        nets.make(name, {setting: value})


@pytest.mark.parametrize("hidden", [[np.int64(8), 4], (np.int64(8), np.int32(4)), np.array([8, 4]).tolist()])
def test_numbers_of_numpy_are_widths_like_others(hidden: Any) -> None:
    assert nets.make("mlp", {"hidden": hidden}).as_dict()["hidden"] == (8, 4)


def test_augmentation_has_its_own_defaults_and_may_be_none() -> None:
    some = nets.make("mlp", {"augmentation": {"rotation": 20}}).as_dict()["augmentation"]
    assert some == {"rotation": 20.0, "shift": 0.1, "crop": 0.1, "fill": "zeros"}
    assert nets.make("conv", {"augmentation": None}).augmentation is None


@every_network
def test_autoencoders_are_rebuilt_from_json_and_weights(name: str) -> None:
    autoencoder, outcome = pretrain(X, nets.make(name, short(name)), seed=0, image_shape=SHAPE)
    assert outcome.trace[-1]["phase"] == "pretrain"
    facts = json.loads(json.dumps(autoencoder.facts))
    assert facts["uses"] == name
    again = nets.rebuild(facts, autoencoder.state_dict())
    assert json.dumps(again.facts) == json.dumps(facts)
    assert again.image_shape == SHAPE
    assert torch.equal(again.eval().encode(X), autoencoder.eval().encode(X))


DROPPED_IN = '''
"""A linear autoencoder that starts from noisy principal axes and has a term of its own."""

import torch
from torch import nn

from deepclust.losses.hypersphere import norm_penalty
from deepclust.nets.base import Network, Phase
from deepclust.settings import Natural, Positive, setting


class Linear(Network):
    """One linear layer and its decoder."""

    oja_epochs: Natural = setting("epochs of the start", default=2)
    pull: Positive = setting("weight of mean (||z|| - 1)^2", default=0.5)

    def layers(self, n_features, image_shape):
        sizes = n_features, self.n_embedding
        return nn.Sequential(nn.Linear(*sizes)), nn.Sequential(nn.Linear(*sizes[::-1]))

    def phases(self, autoencoder, X, image_shape, through):
        down = autoencoder.encoder[0]

        def oja(x, index, generator):
            noisy = x + 0.01 * torch.randn(x.shape, generator=generator)
            return {"oja": (x - down(noisy) @ down.weight).square().mean()}

        yield Phase("oja", down, X, oja, self.oja_epochs, ("oja",))
        codes = through(autoencoder.encoder, autoencoder, X)  # of the layer that the phase has trained
        with torch.no_grad():
            down.bias -= codes.mean(dim=0)
        yield from super().phases(autoencoder, X, image_shape, through)

    def losses(self, x, z, reconstruction):
        return super().losses(x, z, reconstruction) | {"pull": self.pull * norm_penalty(z)}
'''

USES_IT = """
import json
from deepclust import nets
from deepclust.settings import defaults_of
assert "linear" in nets.names()
described = defaults_of(nets.describe("linear"))
import torch
from deepclust.methods import load, restore
from deepclust.training.pretrain import pretrain
X = torch.rand(60, 5, generator=torch.Generator().manual_seed(0))
network = nets.make("linear", {"n_embedding": 2, "epochs": 2, "batch_size": 20})
autoencoder, outcome = pretrain(X, network, seed=0)
again = nets.rebuild(json.loads(json.dumps(autoencoder.facts)), autoencoder.state_dict())
assert torch.equal(again.encode(X), autoencoder.encode(X))
pretraining = {"network": "linear", "n_embedding": 2, "epochs": 2, "batch_size": 20}
method = load("ae_kmeans")(3, pretraining=pretraining, random_state=0, device="cpu").fit(X.numpy())
method.save("FOLDER")
assert (restore("FOLDER").predict(X.numpy()) == method.labels_).all()
print(json.dumps([described["oja_epochs"], [row["phase"] for row in outcome.trace], sorted(outcome.trace[-1])]))
"""


def test_a_network_is_one_file(warm: dict[str, str], tmp_path: Path) -> None:
    shutil.copytree(SOURCE, tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "src" / "deepclust" / "nets" / "linear.py").write_text(DROPPED_IN)
    program = USES_IT.replace("FOLDER", str(tmp_path / "saved"))
    epochs, phases, columns = json.loads(run(program, tmp_path / "src", f"{warm['SITE']}/bin/python"))
    assert epochs == 2
    assert phases == ["oja", "oja", "pretrain", "pretrain"]
    assert {"loss_pull", "loss_reconstruction"} <= set(columns)
