"""Reuters10k as a graph: the 10 nearest neighbours of 10,000 news stories in 4 topics, without their features.

The neighbours are those of SDCN's authors: stories that share most stems, as their script `calcu_graph.py` says.
"""

from deepclust.datasets._base import DatasetSpec
from deepclust.datasets._edges import SOURCE, edge_files, read_edges

SPEC = DatasetSpec(
    n_clusters=4,
    image_shape=None,
    source=SOURCE,
    files=edge_files(
        "reut",
        edges="9a3620080fc9f5e68bfa0d9900677f83411561bf9a454304d8c52884cb4437da",
        labels="389bb6aecf89a54552336b3b6fe41477fd16ce06848761d173f8b691a6a92874",
    ),
    read=read_edges,
)
