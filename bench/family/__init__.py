"""What the objectives of the GIP family cost on a CPU: a pick against one matrix-vector product, memory, a baseline."""
