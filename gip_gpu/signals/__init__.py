"""Where scores come from: one module a signal, each returns a column (m,) or columns (m, n) of G."""

from gip_gpu.signals.self_compression import self_compression

__all__ = ["self_compression"]
