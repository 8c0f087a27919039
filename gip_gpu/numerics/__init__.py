"""Numerics without any knowledge of the package: error bounds, ties, exact sums, orthogonal decompositions."""
