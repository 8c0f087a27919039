"""Quality measures of a set of chosen rows, however it was chosen."""

from gip_gpu.metrics.explained import explained_curve, explained_share, range_share
from gip_gpu.metrics.information import entropy, log_determinant, mutual_information, trace
from gip_gpu.metrics.path import InformationPath, entropy_path, information_path
from gip_gpu.metrics.sets import coverage, iou, mean_pairwise_cosine
from gip_gpu.metrics.theorems import determinant_bound, gram_bound, projection_bound, projection_bounds

__all__ = [
    "InformationPath",
    "coverage",
    "determinant_bound",
    "entropy",
    "entropy_path",
    "explained_curve",
    "explained_share",
    "gram_bound",
    "information_path",
    "iou",
    "log_determinant",
    "mean_pairwise_cosine",
    "mutual_information",
    "projection_bound",
    "projection_bounds",
    "range_share",
    "trace",
]
