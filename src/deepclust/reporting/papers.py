"""Facts about the papers that their numbers need to stand beside ours."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Paper:
    """A paper's printed name, its own methods, the NMI normaliser its numbers use, and its protocol in one clause."""

    title: str
    methods: tuple[str, ...]  # the paper's own; other methods in its tables are baselines
    nmi: Literal["arithmetic", "max"]
    protocol: str

    def metric(self, name: str) -> str:
        """Return our metric that is compared with the paper's metric `name`."""
        return "nmi_max" if name == "nmi" and self.nmi == "max" else name


PAPERS = {
    "hybrid": Paper(
        "Hybrid",
        ("hybrid",),
        "arithmetic",
        "which run is reported is not said; NMI normaliser not said, arithmetic mean assumed",
    ),
    "deepcluster_admm": Paper(
        "DeepCluster-ADMM",
        ("dc_kmeans", "dc_gmm"),
        "arithmetic",
        "best of 10 runs, chosen with the labels; NMI by the mean of the entropies",
    ),
    "decs": Paper(
        "DECS",
        ("decs",),
        "arithmetic",
        "which run is reported is not said, the authors' code tabulates the last evaluation of one trial and prints "
        "the one of best ACC, chosen with the labels; NMI normaliser not said, arithmetic mean assumed",
    ),
    "ulhe_dc": Paper("ULHE-DC", ("ulhe_dc",), "max", "mean and std of 5 runs; NMI by the larger of the entropies"),
    "pc_x": Paper(
        "PC-X", ("pc_x",), "arithmetic", "which run is reported is not said; NMI by the mean of the entropies"
    ),
}
