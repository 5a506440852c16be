"""The network of DC-Kmeans, DC-GMM and DAEC: sigmoid units throughout, and a start layer by layer."""

from typing import Literal

from deepclust.nets.mlp import MLP
from deepclust.settings import Natural, Rate, Share, setting


class Sigmoid(MLP):
    """Fully connected d-500-500-2000-P of sigmoid units, code and reconstruction among them; the data lie in [0, 1].

    The start is layer by layer without corruption, in place of the paper's restricted Boltzmann machines. With
    corruption, and at a rate of 1e-3, the code's units saturate.
    """

    activation: Literal["relu", "sigmoid"] = setting("sigmoid: after code and reconstruction, too", default="sigmoid")
    initial: Literal["fan_in", "glorot"] = setting("scheme of the initial weights", default="glorot")
    layerwise_epochs: Natural = setting("epochs a layer of the start; 0 for none", default=10)
    corruption: Share = setting("share of inputs zeroed in the start", default=0.0)
    learning_rate: Rate = setting("of the optimizer; of AdaDelta a factor of its own steps", default=3e-4)
