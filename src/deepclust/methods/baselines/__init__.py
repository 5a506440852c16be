"""Baselines: k-means, Gaussian mixtures, Ward and convex clustering, on the samples or on a pretrained code."""
