"""Principal components as a linear autoencoder, its weights in closed form."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from deepclust.nets._autoencoder import Autoencoder
from deepclust.nets.base import ImageShape, Network, Phase, Through
from deepclust.settings import Count, LengthOrZero, setting


class PCA(Network):
    """Linear d-P and P-d whose weights are the principal axes of the data, not trained.

    The code holds the coordinates of the centred data on the P axes of largest variance, from the largest on; the
    decoder maps them back. P is `n_embedding`, or d where that is smaller. The sign of an axis is the one that makes
    its entry of largest size positive. `epochs` trains the two layers on from there.
    """

    n_embedding: Count = setting("P, features of the code, at most", default=500)
    epochs: LengthOrZero = setting("of the reconstruction; 0 leaves the principal axes", default=0)

    def layers(self, n_features: int, image_shape: ImageShape) -> tuple[nn.Sequential, nn.Sequential]:
        sizes = n_features, min(self.n_embedding, n_features)
        return nn.Sequential(nn.Linear(*sizes)), nn.Sequential(nn.Linear(*sizes[::-1]))

    def phases(self, network: Autoencoder, X: Tensor, image_shape: ImageShape, through: Through) -> Iterator[Phase]:
        down, up = network.encoder[0], network.decoder[0]
        assert isinstance(down, nn.Linear)
        assert isinstance(up, nn.Linear)
        with torch.no_grad():
            n_features = down.in_features
            sums = torch.zeros(n_features, n_features + 1, dtype=torch.float64, device=X.device)
            origin = X[:1].double()  # a sample: a large column that hardly varies would cancel in the squares

            def add(x: Tensor) -> Tensor:
                x = x.double() - origin
                sums[:, 0].add_(x.sum(dim=0))
                sums[:, 1:].add_(x.T @ x)
                return x[:, :1]

            through(add, network, X)
            shift = sums[:, 0] / len(X)
            mean = origin[0] + shift
            _, axes = torch.linalg.eigh(sums[:, 1:] / len(X) - shift.outer(shift))
            axes = axes.flip(1)[:, : down.out_features].T
            axes *= axes.gather(1, axes.abs().argmax(dim=1, keepdim=True)).sign()
            down.weight.copy_(axes)
            down.bias.copy_(-(axes @ mean))
            up.weight.copy_(axes.T)
            up.bias.copy_(mean)
        yield from super().phases(network, X, image_shape, through)
