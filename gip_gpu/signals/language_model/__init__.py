"""Signals by a causal language model: perplexity and instruction-following difficulty."""

from gip_gpu.signals.language_model.model import LanguageModel, load_model
from gip_gpu.signals.language_model.scores import ifd, perplexity

__all__ = ["LanguageModel", "ifd", "load_model", "perplexity"]
