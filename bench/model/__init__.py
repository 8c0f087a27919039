"""The GPU cost model's predictions, as tables."""
