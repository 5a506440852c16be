# Written by tools/readme.py (make readme).
from pathlib import Path

from deepclust.methods.admm.daec import DAEC as DAEC
from deepclust.methods.admm.dc_gmm import DCGMM as DCGMM
from deepclust.methods.admm.dc_kmeans import DCKmeans as DCKmeans
from deepclust.methods.base import Clusterer as Clusterer
from deepclust.methods.baselines.ae_gmm import AEGMM as AEGMM
from deepclust.methods.baselines.ae_kmeans import AEKMeans as AEKMeans
from deepclust.methods.baselines.convex_clustering import ConvexClustering as ConvexClustering
from deepclust.methods.baselines.ddc_da import DDCDA as DDCDA
from deepclust.methods.baselines.gmm import GMM as GMM
from deepclust.methods.baselines.kmeans import KMeans as KMeans
from deepclust.methods.baselines.ward import Ward as Ward
from deepclust.methods.centroids.decs import DECS as DECS
from deepclust.methods.centroids.pc_x import PCX as PCX
from deepclust.methods.centroids.tell import TELL as TELL
from deepclust.methods.centroids.ulhe_dc import ULHEDC as ULHEDC
from deepclust.methods.generative.deepdpm import DeepDPM as DeepDPM
from deepclust.methods.generative.vade import VaDE as VaDE
from deepclust.methods.graph.ac_gdl import ACGDL as ACGDL
from deepclust.methods.graph.gnmf import GNMF as GNMF
from deepclust.methods.graph.graph_modularity import GraphModularity as GraphModularity
from deepclust.methods.graph.sc_ls import SCLS as SCLS
from deepclust.methods.graph.sc_ncut import SCNcut as SCNcut
from deepclust.methods.self_expression.graph_classifier import GraphClassifier as GraphClassifier
from deepclust.methods.self_expression.hybrid import Hybrid as Hybrid
from deepclust.methods.self_expression.senet import SENet as SENet
from deepclust.methods.self_training.aspc_da import ASPCDA as ASPCDA
from deepclust.methods.self_training.dec import DEC as DEC
from deepclust.methods.self_training.deepcluster import DeepCluster as DeepCluster
from deepclust.methods.self_training.depict import DEPICT as DEPICT
from deepclust.methods.self_training.dynae import DynAE as DynAE
from deepclust.methods.self_training.idec import IDEC as IDEC
from deepclust.methods.self_training.jule import JULE as JULE
from deepclust.methods.views.cc import CC as CC
from deepclust.methods.views.iic import IIC as IIC

def names() -> list[str]: ...
def family(name: str) -> str: ...
def module(name: str) -> str: ...
def describe(name: str) -> type[Clusterer]: ...
def load(name: str) -> type[Clusterer]: ...
def restore(folder: Path | str) -> Clusterer: ...
