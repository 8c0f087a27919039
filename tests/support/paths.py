"""Where the repository and the real data lie."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Embeddings of real texts, of which the repository has none.
REAL_DATA = Path(os.environ.get("GIP_GPU_DATA", ROOT.parent / "shared" / "data"))
