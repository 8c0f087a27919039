"""Strategies: where the columns of picks come from. Each knows its bytes, its seconds and how to build itself."""
