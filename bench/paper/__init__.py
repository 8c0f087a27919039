"""The paper's claims, measured: one module a claim, whose `measure(quick)` returns its `Section`."""
