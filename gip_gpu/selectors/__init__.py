"""Selectors of neighbouring methods, as plain functions: each returns the numbers of the chosen rows."""

from gip_gpu.selectors.car import car
from gip_gpu.selectors.disf import disf

__all__ = ["car", "disf"]
