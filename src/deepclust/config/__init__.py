"""params.yaml: its schema, the resolved settings for one data set, and the table of the cells to run."""

from deepclust.config.resolution import Cell, Network, Resolved, check, points, resolve
from deepclust.config.schema import Config, load
from deepclust.config.table import is_current, table

__all__ = ["Cell", "Config", "Network", "Resolved", "check", "is_current", "load", "points", "resolve", "table"]
