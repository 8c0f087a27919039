"""Selectors: methods that choose k rows of a pool, behind one call, so that they can be compared.

Each has `select(F, G, k, exclude=None)`, with F, G and k as in `gip_gpu.select`, and returns a `gip_gpu.Selection`.
`gip_gpu.testing.check_selector` checks any object with this method. `car` and `disf` are functions that return rows.

>>> F, g = [[1, 0], [0.8, 0.6], [0, 1], [1, 0]], [3.0, 2.9, 1.0, 3.0]
>>> for method in (Random(seed=0), TopK(), Threshold(at_least=2.9), KCenter(first=0), FacilityLocation(), GIP()):
...     print(type(method).__name__, method.select(F, g, 2).tolist())
Random [2, 0]
TopK [0, 3]
Threshold [0, 3]
KCenter [0, 2]
FacilityLocation [1, 0]
GIP [0, 2]
"""

from gip_gpu.selectors.car import car
from gip_gpu.selectors.disf import disf
from gip_gpu.selectors.facility_location import FacilityLocation
from gip_gpu.selectors.gip import GIP
from gip_gpu.selectors.k_center import KCenter
from gip_gpu.selectors.protocol import Selector
from gip_gpu.selectors.random_rows import Random
from gip_gpu.selectors.rating import parse_rating
from gip_gpu.selectors.threshold import Threshold
from gip_gpu.selectors.top_k import TopK

__all__ = [
    "GIP",
    "FacilityLocation",
    "KCenter",
    "Random",
    "Selector",
    "Threshold",
    "TopK",
    "car",
    "disf",
    "parse_rating",
]
