"""The paper's claims, measured: one module for each claim; its `measure(quick)` returns a `Section`."""
