"""Strategies: sources of the columns of picks. Each predicts its bytes and seconds, and builds its columns."""
