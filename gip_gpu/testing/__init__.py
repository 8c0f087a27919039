"""Checks for code that extends the package."""

from gip_gpu.testing.conformance import check_selector
from gip_gpu.testing.selector_checks import CHECKS

__all__ = ["CHECKS", "check_selector"]
