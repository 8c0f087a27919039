"""Cost of the objectives of the GIP family on a CPU: a pick against one matrix-vector product, memory, a baseline."""
