"""The stepper of small pools: the plain float64 loop with bounds on its rounding."""
