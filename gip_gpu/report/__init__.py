"""Reports for human readers."""

from gip_gpu.report.html import write

__all__ = ["write"]
