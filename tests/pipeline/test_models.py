"""The cluster stage keeps the whole method: anyone can load it and label new samples."""

import numpy as np
import pytest

from deepclust import methods
from deepclust.files import read_array
from tests.pipeline.conftest import TINY, Workspace

pytestmark = pytest.mark.xdist_group("finished")


@pytest.mark.parametrize("cell", list(TINY["methods"]))
def test_restored_method_is_the_one_of_the_run(cell: str, finished: Workspace) -> None:
    X = read_array(finished.root / "data/prepared/few/X.npy")
    for seed in TINY["seeds"]:
        folder = finished.root / f"data/runs/few/{cell}/seed-{seed}"
        method = methods.restore(folder)
        record = finished.read_json(f"data/runs/few/{cell}/seed-{seed}/run.json")
        assert method.get_params().items() >= record["settings"].items()
        labels = read_array(folder / "labels.npy")
        np.testing.assert_array_equal(method.labels_, labels)
        if hasattr(method, "embedding_"):
            np.testing.assert_array_equal(method.embedding_, read_array(folder / "embedding.npy"))
        if not method.why_no_predict:
            np.testing.assert_array_equal(method.predict(X), labels)
