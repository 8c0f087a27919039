"""Sizes of batches of Gram columns, and how many of their picks are foreseen before anything is measured."""

# Sizes tried: multiples of 16 fill the register tiles of a product (12 columns take longer than 16); BLAS gains little
# beyond the last, and a guess that far ahead is seldom right.
LADDER = (1, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256)
# Share of the picks that a lookahead does not foresee.
UNFORESEEN = 1 / 30
