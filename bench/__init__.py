"""Benchmarks: `python -m bench SUITE`; bench/README.md describes how to run them and how their numbers are made."""
