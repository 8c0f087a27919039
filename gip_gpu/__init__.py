"""gip_gpu: selects the k most informative examples of a pool, for fine-tuning language models.

It implements Greedy Information Projection (arXiv 2603.13790); every backend returns the indices of the float64
algorithm.
"""

from gip_gpu import exceptions, metrics, reference, signals
from gip_gpu.api.certificate import Certificate
from gip_gpu.api.extend import extend
from gip_gpu.api.pool import Pool
from gip_gpu.api.select import select
from gip_gpu.api.selection import Selection
from gip_gpu.verification import Stability, Verification, stability, verify

__version__ = "0.1.0"

__all__ = [
    "Certificate",
    "Pool",
    "Selection",
    "Stability",
    "Verification",
    "exceptions",
    "extend",
    "metrics",
    "reference",
    "select",
    "signals",
    "stability",
    "verify",
]
