"""Methods that alternate between an epoch of the network and closed-form updates of the clustering."""
