"""Methods that train a code around centroids of their own."""
