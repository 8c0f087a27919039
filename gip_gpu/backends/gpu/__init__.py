"""Shared parts of the two GPU backends: arrays, layout of the device's memory, the host's side of the loop."""
