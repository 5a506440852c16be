"""HAR as a graph: the 10 nearest neighbours of 10,299 windows of motion in 6 activities, without their features.

The neighbours are those of SDCN's authors, who call the data set HHAR; its samples per class are those of UCI's HAR.
"""

from deepclust.datasets._base import DatasetSpec
from deepclust.datasets._edges import SOURCE, edge_files, read_edges

SPEC = DatasetSpec(
    n_clusters=6,
    image_shape=None,
    source=SOURCE,
    files=edge_files(
        "hhar",
        edges="0180cac69e014807c584c8b890c02263ce8b0a4ead7d4349ef682f4afc001f48",
        labels="5a88e22e6aa7fc975dedf551eb32cf394f3181ebaa921567f85e6b09b8a8df67",
    ),
    read=read_edges,
)
