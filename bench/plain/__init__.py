"""Comparison of each objective on a CPU with the plainest float64 code for it: a sweep over m, d and k."""
