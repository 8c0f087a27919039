"""The schedule of a run on many ranks: measured constants, a simulation of its messages, and the model."""
