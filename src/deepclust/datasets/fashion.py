"""Fashion-MNIST: 70,000 images of clothing, the 60,000 training images followed by the 10,000 test images."""

from deepclust.datasets._base import DatasetSpec
from deepclust.datasets._idx import idx_split, read_idx

_BASES = (
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)

SPEC = DatasetSpec(
    n_clusters=10,
    image_shape=(1, 28, 28),
    source="https://github.com/zalandoresearch/fashion-mnist",
    files=idx_split(
        "train",
        _BASES,
        images="c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        labels="bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    )
    + idx_split(
        "t10k",
        _BASES,
        images="5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        labels="0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    read=read_idx,
)
