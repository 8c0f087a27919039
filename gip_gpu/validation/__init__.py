"""Validation of values from users and files; every error names the argument, what it got and what it wants."""
