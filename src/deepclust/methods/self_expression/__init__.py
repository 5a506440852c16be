"""Methods on the sparse self-expression of a code."""
