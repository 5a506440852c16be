"""Networks for tests, from one dictionary."""

from collections.abc import Mapping
from typing import Any

from deepclust import nets
from deepclust.nets.base import Network


def network_of(settings: Mapping[str, Any]) -> Network:
    """Return a network of these settings; `network` names its file, the fully connected one where it is left out."""
    given = {"network": "mlp"} | dict(settings)
    return nets.make(given.pop("network"), given)
