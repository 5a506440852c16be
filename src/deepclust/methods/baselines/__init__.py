"""Baselines: k-means, Gaussian mixtures, Ward, convex clustering, density peaks, on samples or on a pretrained code."""
