"""Registers, shared memory, spills and occupancy of each kernel, from compilation alone."""
