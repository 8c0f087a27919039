"""Time and memory of large pools: files larger than the memory limit, growth with the pool, share of columns used."""
