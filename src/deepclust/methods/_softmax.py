"""Labels by the largest output of a head on the code, shared by methods whose clusters are such outputs."""

from typing import Any

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor

from deepclust.methods._deep import DeepClusterer


class SoftmaxClusterer(DeepClusterer):
    """A method whose clusters are the largest outputs of a head on the code, `_logits`."""

    def _logits(self, codes: np.ndarray) -> np.ndarray:
        """Return the head's outputs (N, K), in float64, of codes (N, P)."""
        raise NotImplementedError

    def _settle(self, data: Tensor) -> None:
        """Set the embedding and the labels under the final weights."""
        self.embedding_ = self._encode(data).cpu().numpy()
        self.labels_ = self._logits(self.embedding_).argmax(axis=1)

    def _predict(self, X: np.ndarray) -> np.ndarray:
        labels: np.ndarray = self._logits(self._codes(X)).argmax(axis=1)
        return labels

    def _predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return the softmax of the head's outputs for the clean codes (M, K)."""
        shares: np.ndarray = softmax(self._logits(self._exact_codes(X)), axis=1)
        return shares


def arrays(module: torch.nn.Module) -> dict[str, np.ndarray]:
    """Return a module's weights by name."""
    return {name: value.cpu().numpy() for name, value in module.state_dict().items()}


def linear(codes: np.ndarray, layer: dict[str, Any], prefix: str = "") -> np.ndarray:
    """Return the outputs (N, K), in float64, of a linear layer that `arrays` returned."""
    weight, bias = (layer[prefix + name].astype(np.float64) for name in ("weight", "bias"))
    outputs: np.ndarray = codes.astype(np.float64) @ weight.T + bias
    return outputs
