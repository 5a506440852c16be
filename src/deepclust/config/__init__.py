"""params.yaml: its schema, what it comes to for one data set, and the table of what there is to run."""

from deepclust.config.resolution import Cell, Network, Resolved, check, points, resolve
from deepclust.config.schema import Config, load
from deepclust.config.table import is_current, table

__all__ = ["Cell", "Config", "Network", "Resolved", "check", "is_current", "load", "points", "resolve", "table"]
