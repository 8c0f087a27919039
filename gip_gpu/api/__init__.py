"""The public API: select, Pool, extend, and the Selection that they return."""
