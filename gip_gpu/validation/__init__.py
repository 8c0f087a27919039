"""Values that users and files give, checked; every error names the argument, what was found and what is wanted."""
