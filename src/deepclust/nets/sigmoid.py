"""The network of DC-Kmeans, DC-GMM and DAEC: sigmoid units throughout, and a start layer by layer."""

from typing import Literal

from deepclust.nets.mlp import MLP
from deepclust.settings import Natural, Rate, Share, setting


class Sigmoid(MLP):
    """Fully connected d-500-500-2000-P of sigmoid units, code and reconstruction among them; the data lie in [0, 1].

    The start is layer by layer without corruption, in place of the paper's restricted Boltzmann machines. With
    corruption, and at a rate of 1e-3, the code's units saturate.
    """

    activation: Literal["relu", "sigmoid"] = setting("sigmoid", "sigmoid: after code and reconstruction, too")
    initial: Literal["fan_in", "glorot"] = setting("glorot", "scheme of the initial weights")
    layerwise_epochs: Natural = setting(10, "epochs a layer of the start; 0 for none")
    corruption: Share = setting(0.0, "share of inputs zeroed in the start")
    learning_rate: Rate = setting(3e-4, "of the optimizer; of AdaDelta a factor of its own steps")
