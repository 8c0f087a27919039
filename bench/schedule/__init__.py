"""The schedule of a run on many ranks: constants measured here, a simulation of its messages, and the model."""
