"""A few selections by two processes, started once: what shows within seconds that processes no longer work together."""

import sys

import pytest

from gip_gpu import select
from tests.support import ranks
from tests.support.rank_jobs import run_job

pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the ranks are forked")


def test_equal_to_one_process(tmp_path):
    said, _ = run_job("two", tmp_path)
    for name in ranks.TWO:
        F, G, k, options = ranks.cases()[name]
        alone = select(F, G, k, device="cpu", **options).indices.tolist()
        for rank in said:
            assert rank[name].get("text") is None
            assert rank[name]["indices"] == alone
