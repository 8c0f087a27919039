"""Embedding: encoders of texts, and their vectors in a file."""

from gip_gpu.embedding.embed import Embedded, embed, fingerprint_of, load_encoder
from gip_gpu.embedding.encoder import BatchLimits, Encoder
from gip_gpu.embedding.hashing import HashingEncoder
from gip_gpu.embedding.ranks import Ranks, joined_ranks

__all__ = [
    "BatchLimits", "Embedded", "Encoder", "HashingEncoder", "Ranks", "embed", "fingerprint_of", "joined_ranks",
    "load_encoder",
]  # fmt: skip
