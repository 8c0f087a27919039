"""Data sets of Hugging Face `datasets`, pandas and polars in, their chosen rows out."""

from gip_gpu.hf.select_dataset import select_dataset
from gip_gpu.pipeline.signals import DsirSettings, JudgeSettings, TextSignals

__all__ = ["DsirSettings", "JudgeSettings", "TextSignals", "select_dataset"]
