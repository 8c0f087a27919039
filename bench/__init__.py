"""Benchmarks: `python -m bench SUITE`; bench/README.md says how they are run and how their numbers are made."""
