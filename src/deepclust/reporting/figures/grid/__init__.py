"""Figures of a whole grid, a file each: one for a data set, or for a method on it."""
