"""Checkpoints: the file, the fingerprint of its matrices, the writer."""
