"""Learned solvers for linear systems on boxes."""
