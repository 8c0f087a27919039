"""The report of a selection: one HTML file without network."""

from gip_gpu.report.html.writer import write

__all__ = ["write"]
