"""A folder with a pool and its scores, for command lines."""

import numpy as np
import pytest

from tests.support import ranks


@pytest.fixture
def folder(tmp_path):
    F, G, _, _ = ranks.cases()["one signal"]
    np.save(tmp_path / "pool.npy", F)
    np.save(tmp_path / "scores.npy", G)
    return tmp_path
