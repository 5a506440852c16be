"""Methods that train a network to say the same of two views of a sample."""
