"""Figures of one sweep, a file each."""
