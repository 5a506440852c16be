"""Baselines: k-means, Gaussian mixtures and Ward, on the samples or on a pretrained code."""
