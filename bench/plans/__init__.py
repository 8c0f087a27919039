"""Comparison of planned seconds with measured ones."""
