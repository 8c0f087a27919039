"""The case of a suffix does not matter, of inputs and of outputs."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

import gip_gpu
from gip_gpu.sources import open_matrix
from tests.support.command_line import Files, Run


def test_inputs_in_capitals(pool: Files, run: Run) -> None:
    chosen = gip_gpu.select(pool.F, pool.G, 5, device="cpu").tolist()
    for name in ("F.npy", "pool.npz", "G.csv"):
        pool[name].rename(name.upper())
    pool["DATA.JSONL.GZ"].write_bytes(gzip.compress(b"".join(pool.rows)))
    ids = [f"item {i}" for i in range(60)]
    pool["IDS.TXT"].write_text("\n".join(ids))
    pool["IDS.CSV"].write_text("\n".join(["id", *ids]))
    np.save(pool["ids.npy"], ids)
    pool["ids.npy"].rename("IDS.Npy")
    pool["SHARDS"].mkdir()
    for i, suffix in enumerate(("npy", "NPY", "Npy")):
        np.save(pool["part.npy"], pool.F[20 * i : 20 * (i + 1)])
        pool["part.npy"].rename(f"SHARDS/{i}.{suffix}")
    for line in (
        "F.NPY --scores G.CSV",
        "SHARDS --scores G.CSV",
        "POOL.NPZ --key F --scores POOL.NPZ --scores-key G",
    ):
        assert run(f"select {line} -k 5 --quiet").out.split() == [str(i) for i in chosen]
    for name in ("IDS.TXT", "IDS.CSV", "IDS.Npy"):
        found = run(f"select F.NPY --scores G.CSV -k 5 --ids {name} --quiet").out
        assert found.splitlines() == [ids[i] for i in chosen]
    line = "select F.NPY --scores G.CSV -k 5 --rows DATA.JSONL.GZ --rows-out OUT.JSONL.Gz --ids id -o OUT.Txt"
    assert run(line).status == 0
    assert gzip.decompress(pool["OUT.JSONL.Gz"].read_bytes()) == b"".join(pool.rows[i] for i in chosen)
    assert pool["OUT.Txt"].read_text().split() == [str(i) for i in chosen]
    np.testing.assert_array_equal(open_matrix("F.NPY").read(0, 60), pool.F)


@pytest.mark.parametrize("name", ["out.NPZ", "out.JSON"])
def test_a_whole_result_in_capitals(name: str, pool: Files, run: Run) -> None:
    assert run(f"select F.npy --scores G.npy -k 5 -o {name}").status == 0
    chosen = gip_gpu.Selection.load(name)
    assert chosen == gip_gpu.select(pool.F, pool.G, 5, device="cpu")
    chosen.save(f"again_{name}")
    assert gip_gpu.Selection.load(f"again_{name}") == chosen


@pytest.mark.parametrize("suffix", ["npy", "csv", "parquet"])
def test_tables_in_capitals(suffix: str, pool: Files, run: Run) -> None:
    """A table with a suffix in capitals has the same bytes as under the usual name."""
    if suffix == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    for name in (f"out.{suffix}", f"OUT.{suffix.upper()}"):
        assert run(f"select F.npy --scores G.npy -k 5 -o {name}").status == 0
    assert pool[f"out.{suffix}"].read_bytes() == pool[f"OUT.{suffix.upper()}"].read_bytes()
