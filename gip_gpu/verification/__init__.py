"""Verification of selections: the replay of a certificate against its input, and the stability of the picks."""

from gip_gpu.verification.result import Verification
from gip_gpu.verification.stability import stability
from gip_gpu.verification.stability_result import Stability
from gip_gpu.verification.verify import verify

__all__ = ["Stability", "Verification", "stability", "verify"]
