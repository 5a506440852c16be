"""Neighbourhood graphs of the data: k nearest neighbours, edge weights, Laplacians and their spectra.

Import from the modules (`deepclust.graph.knn`, ...): a stage then depends on the graph code it uses and on no other.
"""
