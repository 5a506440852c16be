"""TELL: k-means by mini-batches as a layer of an autoencoder (Peng et al., JMLR 2022)."""

from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.preprocessing import normalize
from torch import Tensor, nn

from deepclust.losses.hypersphere import directions
from deepclust.methods._deep import CentroidClusterer
from deepclust.methods._flat_clustering import nearest_center
from deepclust.nets._autoencoder import Autoencoder
from deepclust.seeding import derive_seed
from deepclust.settings import Count, LengthOrZero, Positive, Weight, setting
from deepclust.training.loop import EpochSteps, make_optimizer


class TELL(CentroidClusterer):
    """k-means of unit codes as one linear layer, whose centres and whose encoder learn in turns, epoch by epoch.

        mean_i mean_d (x_i - g(z_i))^2 + (`weight` / `alpha`) mean_i mean_k (2 `alpha` - delta_ik W_k'z_i)

    over the batch, the D features of the data and the K clusters. z_i = f(x_i) / ||f(x_i)|| is a code of length 1,
    which the decoder g sees as well, W_k = 2 `alpha` mu_k a row of the layer with mu_k a centre of length 1, and
    delta_ik = 1 for the largest W_k'z_i, else 0. The second term is thus 2 `weight` (1 - mean_i cos(z_i, mu_(s_i)) / K)
    with s_i the nearest centre: spherical k-means.

    Even epochs, the first one among them, move the centres by that term, odd epochs the encoder; reconstruction trains
    the network in both. The gradient of every W_k is scaled to the length `center_gradient` `alpha`, and after every
    step W_k to 2 `alpha`. A centre without samples in the batch stays. Both the network and the centres start from
    random weights. `labels_` are the nearest centres under the final weights. `alive` in the trace counts the clusters
    to which a sample of the epoch's batches belonged.

    The optimizer is AdaDelta, whose steps do not depend on the scale of gradients unless they are small against its
    eps of 1e-6. The gradients of W are small: a step of W is nearly the gradient itself, so that mu_k becomes about
    Norm(mu_k + 0.1 Norm(sum of its z_i)) with the default settings. `docs/papers/baselines.md` has more.
    """

    default_network: ClassVar[str] = "tell"
    paper: ClassVar[str] = "Peng, Li, Tsang, Zhu, Lv and Zhou 2022"

    weight: Weight = setting("of the clustering term against the reconstruction error", default=0.01)
    alpha: Positive = setting("scale of the layer: rows of length 2 alpha", default=1e-3)
    center_gradient: Positive = setting("length of the gradient of each row, in units of alpha", default=0.2)
    epochs: LengthOrZero = setting("epochs; the paper's are 3,000, and 0 leaves the start", default=300)
    batch_size: Count = setting("rows of a batch", default=256)
    learning_rate: Positive = setting("of AdaDelta, a factor of its own steps", default=1.0)

    def _fit(self, X: np.ndarray, network: Autoencoder | None = None, **_: Any) -> None:
        data = self._start(X, network)
        before = self._encode(data).cpu().numpy()
        generator = torch.Generator().manual_seed(derive_seed(self._seed, "centers"))
        start = 2 * torch.rand(self.n_clusters, before.shape[1], generator=generator) - 1
        state = TELLState(self.network_, start.to(data.device), len(data), self.alpha, self.center_gradient)

        def terms(x: Tensor, index: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
            z = directions(self.network_.encode(x).float())  # cosines near 1 need more digits than bfloat16 has
            reconstruction = self.network_.decode(z)
            with torch.autocast(z.device.type, enabled=False):
                return {
                    "reconstruction": F.mse_loss(reconstruction.float(), x),
                    "clustering": self.weight / self.alpha * state.disagreement(z, index),
                }

        optimizer = make_optimizer("adadelta", state, self.learning_rate)
        self._learn(state, data, terms, optimizer, steps=EpochSteps(state.take_turns, state.columns))
        self.embedding_ = self._encode(data).cpu().numpy()
        centers = F.normalize(state.layer.detach())  # of rows of length 2 alpha
        self.cluster_centers_ = centers.cpu().numpy()
        self.labels_ = self._nearest(self.embedding_)
        with torch.no_grad():
            decoded = self.network_.eval().decode(centers).cpu().numpy()
        self.extras_ = {"embedding_before": before, "decoded_centers": decoded}

    def _nearest(self, codes: np.ndarray) -> np.ndarray:
        return nearest_center(normalize(codes.astype(np.float64)), self.cluster_centers_)


class TELLState(nn.Module):
    """The whole state of a checkpoint: the network, the layer W (K, P), and the epochs so far, on the CPU.

    `labels` (N,) are those of each sample's last batch, -1 before it.
    """

    def __init__(
        self, network: Autoencoder, start: Tensor, n_samples: int, alpha: float, center_gradient: float
    ) -> None:
        super().__init__()
        self.network = network
        self.layer = nn.Parameter(2 * alpha * directions(start))
        self._alpha, self._gradient = alpha, center_gradient * alpha
        self._moves_encoder = False
        self.labels: Tensor
        self.passes: Tensor
        self.register_buffer("labels", torch.full((n_samples,), -1, device=start.device))
        self.register_buffer("passes", torch.tensor(0))

    def take_turns(self) -> None:
        """Begin an epoch: the encoder's if as many as one, three, ... came before."""
        self._moves_encoder = int(self.passes) % 2 == 1
        self.passes += 1
        self.labels.fill_(-1)

    def disagreement(self, z: Tensor, index: Tensor) -> Tensor:
        """Return the mean over batch and clusters of 2 alpha - delta_ik W_k'z_i, of unit codes z (B, P).

        Gradient reaches the codes in the encoder's epochs and the layer in the others, there scaled to its length. Rows
        of the layer are first brought back to their length.
        """
        with torch.no_grad():
            self.layer.copy_(2 * self._alpha * F.normalize(self.layer))
        layer = self.layer.detach() if self._moves_encoder else self._scaled()
        largest = ((z if self._moves_encoder else z.detach()) @ layer.T).max(dim=1)
        self.labels[index] = largest.indices
        return (2 * self._alpha - largest.values / len(layer)).mean()

    def _scaled(self) -> Tensor:
        """Return the layer, whose gradient has rows of the length set, or of 0 where nothing pulls."""
        layer = self.layer.view_as(self.layer)
        layer.register_hook(lambda gradient: F.normalize(gradient) * self._gradient)
        return layer

    def columns(self) -> dict[str, Any]:
        """Return the trace's columns."""
        turn = "encoder" if self._moves_encoder else "centers"
        return {"turn": turn, "alive": len(self.labels[self.labels >= 0].unique())}
