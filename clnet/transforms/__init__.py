"""Transforms of functions and graphs: reverse-mode differentiation, anomaly mode."""
