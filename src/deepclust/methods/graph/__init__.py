"""Cuts of a nearest-neighbour graph."""
