"""The greedy loop, its state, and the steppers that make picks."""
