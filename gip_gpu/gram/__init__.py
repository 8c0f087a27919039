"""Gram columns: the whole matrix, or batches on demand."""
