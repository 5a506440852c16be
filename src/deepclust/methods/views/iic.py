"""Invariant information clustering (IIC; Ji, Henriques and Vedaldi, ICCV 2019)."""

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from deepclust.methods._softmax import arrays, linear
from deepclust.methods.views._views import TwoViews
from deepclust.nets._autoencoder import Autoencoder
from deepclust.nets._init import initialise
from deepclust.seeding import derive_seed
from deepclust.settings import Augmentation, Count, Positive, Weight, setting
from deepclust.training.loop import EpochSteps, in_chunks, make_optimizer

_MAPS = Augmentation(rotation=25.0, shift=0.1, crop=0.3)
_SMALLEST = 2.2e-16  # of an entry of the joint distribution: the released code's
_CYCLE = 3  # epochs: one of the heads of many clusters, then two of those of K


class IIC(TwoViews):
    """A softmax on the code whose outputs for an image and for a random map of it have the most mutual information.

        -sum_kl P_kl [ ln P_kl - `lam` ln P_k - `lam` ln P_l ],    P = mean_i p(x_i) p(T(x_i))', made symmetric

    is minimised: with `lam` = 1 minus the mutual information of the two views' clusters. The mean is over the batch, P
    sums to 1, and P_k are its sums over a row. A network without pretraining has `n_heads` linear heads of K clusters,
    and as many of `n_overclusters` clusters; the loss is the mean over heads of a kind. Every third epoch, from the
    first on, trains the heads of many clusters, the others those of K. `labels_` are the largest outputs, on the plain
    image, of the head of K clusters with the least loss over all samples.

    T rotates by up to 25 degrees, shifts by up to a tenth of each side and cuts away up to 0.3 of it. Rows without an
    image shape have a share `corruption` of their entries zeroed instead.

    Reduced, paper and released code say / we do / because:

    1. The network is a VGG-like one of 64 to 512 channels. Ours is `wide_conv`, a few times smaller, for CPUs.
    2. A batch of 700 images appears five times, each with another map. Ours appears once.
    3. 3,200 cycles of three epochs: hours on a GPU. Ours are 200 epochs.
    4. The first view is cropped, the second cropped, turned, and changed in brightness and contrast. Ours are the plain
       image and an affine map of it.
    5. The released code keeps the epoch of the highest accuracy by the true labels, and scores the best head by these
       unless told to take the one of least loss. Ours is the final epoch and the head of least loss.

    `docs/papers/baselines.md` has more.
    """

    paper: ClassVar[str] = "Ji, Henriques and Vedaldi 2019"

    lam: Weight = setting("of the marginals' entropies", default=1.0)
    n_heads: Count = setting("heads of each kind", default=5)
    n_overclusters: Count | None = setting("clusters of the other kind of heads; None: five times K", default=None)
    batch_size: Count = setting("rows of a batch", default=700)
    learning_rate: Positive = setting("of Adam", default=1e-4)

    def _memory(self, n_samples: int, n_features: int) -> int:
        return 16 * n_samples * self.n_heads * self.n_clusters  # outputs and probabilities of two views

    def _fit(self, X: np.ndarray, network: Autoencoder | None = None, **_: Any) -> None:
        data = self._start(X, network)
        n_embedding = self._encode(data[:2]).shape[1]
        many = self.n_overclusters or 5 * self.n_clusters
        state = IICState(self.network_, n_embedding, (many, self.n_clusters), self.n_heads, self._seed).to(data.device)
        view = self._view(_MAPS)

        def terms(x: Tensor, index: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
            plain, mapped = (state.probabilities(rows) for rows in (x, view(x, generator)))
            with torch.autocast(x.device.type, enabled=False):  # near uniform outputs the logarithms cancel
                return {"information": information_loss(plain, mapped, self.lam).mean()}

        optimizer = make_optimizer("adam", state, self.learning_rate)
        self._learn(state, data, terms, optimizer, steps=EpochSteps(state.choose, state.columns))
        losses = self._losses(state, data, view)
        head = int(losses.argmin())
        part = slice(head * self.n_clusters, (head + 1) * self.n_clusters)
        self.head_ = {name: value[part].copy() for name, value in arrays(state.heads[1]).items()}
        self._settle(data)
        self.extras_ = {"head_losses": losses}

    def _losses(self, state: "IICState", data: Tensor, view: Any) -> np.ndarray:
        """Return the loss of each head of K clusters (H,) over all samples and a view of each."""
        state.overclusters = False
        generator = torch.Generator(data.device).manual_seed(derive_seed(self._seed, "choice"))
        plain = in_chunks(state.probabilities, state, data)
        mapped = in_chunks(lambda x: state.probabilities(view(x, generator)), state, data)
        found: np.ndarray = information_loss(plain, mapped, self.lam).cpu().numpy()
        return found

    def _logits(self, codes: np.ndarray) -> np.ndarray:
        return linear(codes, self.head_)


class IICState(nn.Module):
    """The whole state of a checkpoint: the network, the heads of many clusters and of K, the count of epochs.

    `overclusters`, which heads are trained, follows from that count.
    """

    def __init__(
        self, network: Autoencoder, n_embedding: int, n_clusters: tuple[int, int], n_heads: int, seed: int
    ) -> None:
        super().__init__()
        self.network = network
        self.heads = nn.ModuleList(
            nn.Linear(n_embedding, n_heads * count, device="meta").to_empty(device="cpu") for count in n_clusters
        )
        initialise(self.heads, torch.Generator().manual_seed(derive_seed(seed, "heads")))
        self._n_heads = n_heads
        self.overclusters = True
        self.epoch: Tensor
        self.register_buffer("epoch", torch.tensor(0))

    def choose(self) -> None:
        """Choose the heads that the next epoch trains."""
        self.overclusters = int(self.epoch) % _CYCLE == 0

    def probabilities(self, x: Tensor) -> Tensor:
        """Return the outputs (B, H, K) of the chosen heads for rows (B, D)."""
        logits: Tensor = self.heads[0 if self.overclusters else 1](self.network.encode(x)).float()
        shares: Tensor = logits.unflatten(1, (self._n_heads, -1)).softmax(dim=2)
        return shares

    def columns(self) -> dict[str, bool]:
        """Return the trace's column: whether the heads of many clusters were trained."""
        self.epoch += 1
        return {"overclusters": self.overclusters}


def information_loss(p: Tensor, other: Tensor, lam: float = 1.0) -> Tensor:
    """Return the loss (H,) of probabilities (B, H, K) of two views, for each of H heads; natural logarithms.

    Least, -ln K at `lam` = 1, where both views are sure of the same cluster and all clusters are equally large.
    """
    joint = torch.einsum("bhk,bhl->hkl", p, other)
    joint = joint + joint.mT
    joint = joint / joint.sum(dim=(1, 2), keepdim=True)
    marginal = joint.sum(dim=2).clamp_min(_SMALLEST).log()
    joint = joint.clamp_min(_SMALLEST)
    return -(joint * (joint.log() - lam * (marginal.unsqueeze(2) + marginal.unsqueeze(1)))).sum(dim=(1, 2))
