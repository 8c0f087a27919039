"""Sizes of batches of Gram columns, and the share of unforeseen picks that is assumed before anything is measured."""

# Sizes to try. Multiples of 16 fill the register tiles of a product (12 columns take longer than 16); BLAS gains little
# beyond the last size, and predictions that far ahead are seldom right.
LADDER = (1, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256)
# Share of the picks that a lookahead does not foresee.
UNFORESEEN = 1 / 30
