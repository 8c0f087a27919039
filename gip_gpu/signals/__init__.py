"""Signals, which compute scores: each returns a column (m,) or columns (m, n) of G; `combine` joins several.

Ratings by a judge are in `gip_gpu.signals.judge`, signals by a language model in `gip_gpu.signals.language_model`.
"""

from gip_gpu.signals.dsir import DsirModel, dsir, gumbel_top_k
from gip_gpu.signals.missing import fill_missing
from gip_gpu.signals.multi_attribute import multi_attribute
from gip_gpu.signals.named import combine
from gip_gpu.signals.queries import from_query, ridge_query
from gip_gpu.signals.self_compression import self_compression

__all__ = [
    "DsirModel",
    "combine",
    "dsir",
    "fill_missing",
    "from_query",
    "gumbel_top_k",
    "multi_attribute",
    "ridge_query",
    "self_compression",
]
