"""Contrastive clustering (CC; Li, Hu, Liu, Peng, Zhou and Peng, AAAI 2021)."""

import math
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepclust.methods._softmax import arrays, linear
from deepclust.methods.views._views import TwoViews, erase
from deepclust.nets._autoencoder import Autoencoder
from deepclust.nets._init import initialise
from deepclust.seeding import derive_seed
from deepclust.settings import Augmentation, Count, Positive, Share, setting
from deepclust.training.loop import make_optimizer

_MAPS = Augmentation(rotation=25.0, shift=0.1, crop=0.3)
_SMALLEST = 1e-30  # of a cluster's share, before the logarithm


class CC(TwoViews):
    """Two views of a sample have the same features, and two views of the batch the same clusters, unlike all others.

        NT(z, z'; `instance_temperature`) + NT(columns of p, p'; `cluster_temperature`) + 2 ln K - H(p) - H(p')
        NT(a, b; t) = the mean over rows r of (a; b) of -ln [ exp(cos(r, r') / t) / sum_(s != r) exp(cos(r, s) / t) ]

    is minimised, with r' the other view of r. On the code of a network without pretraining stand two heads of a hidden
    layer: z (B, `n_features`), and p (B, K), a softmax, whose columns are vectors of B entries for the clusters. H is
    the entropy of the mean of p over the batch. `labels_` are the largest outputs of the second head on plain samples.

    Both views rotate by up to 25 degrees, shift by up to a tenth of each side, cut away up to 0.3 of it, and have a
    random rectangle erased with probability `erasing`. Rows without an image shape have a share `corruption` of
    their entries zeroed instead.

    Reduced, paper and released code say / we do / because:

    1. The network is a ResNet-34 that sees 224 x 224 pixels. Ours is `wide_conv`, for small images and CPUs.
    2. Views are resized crops, flips, grey levels, changed colours and, on ImageNet, blurred. Ours are affine maps and
       erasing: a digit has no colour, and is another one when flipped.
    3. 1000 epochs. Ours are 200.
    4. The logarithm of an empty cluster's share is infinite in the released code. Ours is held above ln 1e-30.

    `docs/papers/baselines.md` has more.
    """

    paper: ClassVar[str] = "Li, Hu, Liu, Peng, Zhou and Peng 2021"

    instance_temperature: Positive = setting("of the features", default=0.5)
    cluster_temperature: Positive = setting("of the clusters", default=1.0)
    n_features: Count = setting("of the head whose samples are told apart", default=128)
    erasing: Share = setting("share of the views of images that have a rectangle erased", default=0.5)

    def _fit(self, X: np.ndarray, network: Autoencoder | None = None, **_: Any) -> None:
        data = self._start(X, network)
        n_embedding = self._encode(data[:2]).shape[1]
        state = CCState(self.network_, n_embedding, self.n_features, self.n_clusters, self._seed).to(data.device)
        view, shape = self._view(_MAPS), self.network_.image_shape

        def terms(x: Tensor, index: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
            pair = [view(x, generator) for _ in range(2)]
            if shape is not None and self.augment is not False:
                pair = [erase(rows, self.erasing, generator, shape) for rows in pair]
            codes = [self.network_.encode(rows) for rows in pair]  # each view has its own statistics in BatchNorm
            z, other = (state.instance(code).float() for code in codes)
            p, q = (state.cluster(code).float().softmax(dim=1) for code in codes)
            with torch.autocast(x.device.type, enabled=False):  # cosines near 1 need more digits than bfloat16 has
                return {
                    "instances": nt_xent(z, other, self.instance_temperature),
                    "clusters": nt_xent(p.T, q.T, self.cluster_temperature),
                    "sizes": unevenness(p) + unevenness(q),
                }

        self._learn(state, data, terms, make_optimizer("adam", state, self.learning_rate))
        self.head_ = arrays(state.cluster)
        self._settle(data)

    def _logits(self, codes: np.ndarray) -> np.ndarray:
        return linear(linear(codes, self.head_, "0.").clip(min=0), self.head_, "2.")


class CCState(nn.Module):
    """The whole state of a checkpoint: the network and the two heads."""

    def __init__(self, network: Autoencoder, n_embedding: int, n_features: int, n_clusters: int, seed: int) -> None:
        super().__init__()
        self.network = network
        with torch.device("meta"):
            self.instance, self.cluster = (
                nn.Sequential(nn.Linear(n_embedding, n_embedding), nn.ReLU(), nn.Linear(n_embedding, count))
                for count in (n_features, n_clusters)
            )
        generator = torch.Generator().manual_seed(derive_seed(seed, "heads"))
        for head in (self.instance, self.cluster):
            initialise(head.to_empty(device="cpu"), generator)


def nt_xent(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """Return the mean over the 2B rows of two views (B, P) of the cross-entropy of a row's other view among all others.

    Logits are cosines over `temperature`; a row is not compared with itself.
    """
    rows = F.normalize(torch.cat([one, other]))
    itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    logits = (rows @ rows.T / temperature).masked_fill(itself, -torch.inf)
    return F.cross_entropy(logits, torch.arange(len(rows), device=rows.device).roll(len(one)))


def unevenness(p: Tensor) -> Tensor:
    """Return ln K - H(mean of p (B, K) over rows): 0 where clusters are equally large; natural logarithms."""
    shares = p.mean(dim=0)
    return math.log(p.shape[1]) + (shares * shares.clamp_min(_SMALLEST).log()).sum()
