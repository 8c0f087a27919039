"""Signals, which compute scores: each returns a column (m,) or columns (m, n) of G; `np.column_stack` joins several."""

from gip_gpu.signals.multi_attribute import multi_attribute
from gip_gpu.signals.queries import from_query, ridge_query
from gip_gpu.signals.self_compression import self_compression

__all__ = ["from_query", "multi_attribute", "ridge_query", "self_compression"]
