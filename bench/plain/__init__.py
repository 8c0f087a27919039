"""Whether any objective is slower on a CPU than the plainest float64 code for it: a sweep over m, d and k."""
