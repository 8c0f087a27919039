"""Cost model of fitting a query on the host, before a selection."""

from gip_gpu.data.rows import BLOCK_VALUES
from gip_gpu.planning.cpu_costs import Rates
from gip_gpu.problem.normal_equations import MOST_WEAK


def query_bytes(m: int, d: int, n: int) -> int:
    """Returns the bytes of fitting a query on the host.

    They hold the scores of the fit and their residuals, some columns, blocks of rows and their factor.
    """
    width = d + n
    return 8 * m * (4 * n + 2 * MOST_WEAK) + 8 * width * (4 * max(BLOCK_VALUES // width, 4 * width) + 4 * width)


def query_seconds(m: int, d: int, n: int, rates: Rates | None) -> float:
    """Predicts the seconds of fitting a query: F'F, its inverse, and three passes over the rows.

    The fit takes a few times longer if many directions of the rows are nearly dependent.
    """
    rates = rates or Rates()
    return (2.6 * m * d**2 + 25 * min(m, d) ** 3) / rates.gemm + 200 * m * d / rates.copy
