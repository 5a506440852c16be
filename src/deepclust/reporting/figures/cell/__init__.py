"""Figures of one cell on one data set, a file each."""
