"""Data sets of Hugging Face `datasets`, pandas and polars in, their chosen rows out."""

from gip_gpu.hf.select_dataset import select_dataset

__all__ = ["select_dataset"]
