"""What users call: select, Pool, extend, and the Selection that they return."""
