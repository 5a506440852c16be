"""k-means on the code of a pretrained autoencoder: the start of most deep methods, and their first baseline."""

from typing import ClassVar

from deepclust.methods._deep import CodeReader
from deepclust.methods._flat_clustering import KMeansReadout


class AEKMeans(KMeansReadout, CodeReader):
    """k-means on a pretrained autoencoder's code; the network is left as it is."""

    paper: ClassVar[str] = "baseline of DEC (Xie et al. 2016) and of all five papers"
