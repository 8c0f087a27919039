"""How good and how diverse the rows are that rated pools give."""
