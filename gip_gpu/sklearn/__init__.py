"""Selection of rows as a scikit-learn estimator."""

try:
    import sklearn as _sklearn
except ImportError as error:
    raise ImportError('GIPSelector needs scikit-learn: pip install "gip_gpu[sklearn]"') from error
if tuple(int(part) for part in _sklearn.__version__.split(".")[:2]) < (1, 6):
    raise ImportError(
        f"GIPSelector needs scikit-learn 1.6 or newer, and {_sklearn.__version__} is installed: "
        'pip install "gip_gpu[sklearn]"'
    )

from gip_gpu.sklearn.checks import EXPECTED_FAILED_CHECKS
from gip_gpu.sklearn.selector import GIPSelector

__all__ = ["EXPECTED_FAILED_CHECKS", "GIPSelector"]
