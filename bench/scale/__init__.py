"""What large pools take: files larger than the memory limit, growth with the pool, the share of columns used."""
