"""The plan's seconds against measured ones."""
