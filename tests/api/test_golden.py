"""Recorded results: today's results equal them, and files saved earlier can be read."""

import shutil
import warnings

import numpy as np
import pytest

import gip_gpu
from gip_gpu import Selection
from tests.support import golden
from tests.support.blas import on_all_threads

RECORD = dict(np.load(golden.RECORD))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden")
    # Some scores are outside the range of F, and some distinguish no items; both warn.
    with warnings.catch_warnings(), on_all_threads():
        warnings.simplefilter("ignore", UserWarning)
        return {name: golden.found(run()) for name, run in golden.runs(folder)}


def test_as_many_runs_as_recorded(found):
    recorded = {name.split("/")[0] for name in RECORD} - {"machine"}
    assert len(recorded) >= 60
    assert recorded - set(found) <= {name for name in recorded if name.startswith("distributed")}
    assert set(found) <= recorded


def test_same_results(found):
    bits = RECORD["machine"].item() == golden.machine()
    for name, fields in found.items():
        for field, value in fields.items():
            recorded = RECORD[f"{name}/{field}"]
            if bits or field in golden.EXACT:
                np.testing.assert_array_equal(value, recorded, err_msg=f"{name} {field}")
            elif field in golden.CLOSE:
                np.testing.assert_allclose(value, recorded, rtol=1e-9, atol=1e-9, err_msg=f"{name} {field}")
            else:
                assert field in golden.ROUNDED


@pytest.mark.usefixtures("all_threads")
def test_earlier_checkpoint_is_read(tmp_path):
    path = tmp_path / "mp.checkpoint"
    shutil.copy(golden.DATA / path.name, path)
    selection = golden.checkpointed(path)
    p = golden.pools()
    assert selection.resumed == 15
    assert selection == gip_gpu.select(p["F"], p["g"], 45, device="cpu")


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("suffix", golden.SAVED)
def test_earlier_selection_is_read(suffix):
    saved = Selection.load(golden.DATA / f"lr{suffix}")
    p = golden.pools()
    assert saved == gip_gpu.select(p["F"], p["g"], 12, device="cpu", objective="lr")
    assert saved.projection is not None
    assert gip_gpu.extend(saved, p["F"], p["g"], 5, device="cpu").indices.shape == (5,)
