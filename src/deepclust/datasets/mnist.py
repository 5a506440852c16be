"""MNIST: 70,000 handwritten digits, the 60,000 training images followed by the 10,000 test images."""

from deepclust.datasets._base import DatasetSpec
from deepclust.datasets._idx import idx_split, read_idx

_BASES = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")

TRAIN = idx_split(
    "train",
    _BASES,
    images="ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    labels="65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
)
TEST = idx_split(
    "t10k",
    _BASES,
    images="0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    labels="ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)

SPEC = DatasetSpec(
    n_clusters=10,
    image_shape=(1, 28, 28),
    source="http://yann.lecun.com/exdb/mnist/",
    files=TRAIN + TEST,
    read=read_idx,
)
