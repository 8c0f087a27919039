"""Paths of the repository and of the real data."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Folder of embeddings of real texts, which are not in the repository.
REAL_DATA = Path(os.environ.get("GIP_GPU_DATA", ROOT.parent / "shared" / "data"))
