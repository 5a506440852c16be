"""Methods that fit a model of how the data came about, in which a cluster is drawn first."""
