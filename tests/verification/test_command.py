"""The command `verify`: its verdict, its exit status, and the stability it prints."""

import os

import numpy as np
import pytest

import gip_gpu
from gip_gpu import Selection
from gip_gpu.selectors import TopK
from tests.support.command_line import files_in, runner


@pytest.fixture
def pool(tmp_path, monkeypatch):
    return files_in(tmp_path, monkeypatch)


@pytest.fixture
def run(capsys):
    return runner(capsys)


def chosen_of(pool, run, options=""):
    assert run(f"select F.npy --scores G.npy -k 9 -o chosen.npz --quiet {options}").status == 0


def altered(name, place, value):
    array = np.load(name)
    array[place] = value
    np.save(name, array)


def test_verified(pool, run):
    chosen_of(pool, run)
    result = run("verify chosen.npz F.npy --scores G.npy")
    assert result.status == 0
    assert result.err == ""
    lines = [line.split("  ")[-1].strip() for line in result.out.splitlines()]
    assert lines[1:7] == ["mp, sign any, query direct", "equal", "equal", "9 of 9", "0", "0"]
    assert result.out.splitlines()[-1] == "verified"


def test_other_files_of_the_same_input(pool, run):
    chosen_of(pool, run, "--standardize rank --sign positive --center")
    assert run("verify chosen.npz pool.npz --key F --scores pool.npz --scores-key G").status == 0


def test_what_differs(pool, run):
    chosen_of(pool, run)
    selection = Selection.load("chosen.npz")
    cases = {
        "indices": selection.indices[[1, 0, *range(2, 9)]],
        "gains": selection.gains * np.where(np.arange(9) == 4, 1.001, 1.0),
    }
    for name, value in cases.items():
        with np.load("chosen.npz") as archive:
            content = {**archive, name: value}
        np.savez("forged.npz", **content)
        result = run("verify forged.npz F.npy --scores G.npy --stability")
        assert result.status == 1
        assert result.out.splitlines()[-2] == "not verified"
        assert result.out.splitlines()[-1].startswith("the stability is not computed")
        assert f"pick {0 if name == 'indices' else 4}: " in result.out
    altered("F.npy", (3, 2), 9.0)
    result = run("verify chosen.npz F.npy --scores G.npy")
    assert result.status == 1
    assert "F is not the input of the selection" in result.out
    np.save("F.npy", pool.F)
    altered("G.npy", (50, 1), 6)
    result = run("verify chosen.npz F.npy --scores G.npy")
    assert result.status == 1
    assert "G is not the input of the selection" in result.out


@pytest.mark.parametrize(
    ("options", "made"),
    [
        ("--stability", "embeddings in bf16"),
        ("--rounded fp16", "embeddings in fp16"),
        ("--score-noise 0.4 --runs 2", "scores moved by up to 0.4"),
        ("--score-noise 0.4 --rounded bf16 --runs 1", "scores moved by up to 0.4 and embeddings in bf16"),
    ],
)
def test_stability(pool, run, options, made):
    chosen_of(pool, run)
    result = run(f"verify chosen.npz F.npy --scores G.npy {options}")
    assert result.status == 0
    assert made in result.out
    assert "by the certificate's margins" in result.out


def test_self_compression_scores(pool, run):
    for options in ("", "--center", "--no-normalize"):
        line = f"select F.npy --scores self-compression -k 9 -o own.npz --force {options}"
        assert run(line).status == 0
        assert run("verify own.npz F.npy --scores self-compression").status == 0


def test_an_extended_selection(pool, run):
    first = gip_gpu.select(pool.F[:40], pool.G[:40], 5, device="cpu")
    first.save("first.npz")
    gip_gpu.extend(first, pool.F[40:], pool.G[40:], 5, device="cpu").save("more.json")
    np.save("F_new.npy", pool.F[40:])
    np.save("G_new.npy", pool.G[40:])
    assert run("verify more.json F_new.npy --scores G_new.npy --prior first.npz").status == 0
    result = run("verify more.json F_new.npy --scores G_new.npy")
    assert result.status == 2
    assert "--prior" in result.err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("verify chosen.npz F.npy", "G is None"),
        ("verify chosen.npz G.npy --scores G.npy", "F has shape (60, 2)"),
        ("verify chosen.npz none.npy --scores G.npy", "cannot read none.npy"),
        ("verify F.npy F.npy", "a selection is kept in .npz or .json"),
        ("verify pool.npz F.npy", "holds no selection"),
        ("verify chosen.npz F.npy --scores-key G", "--scores is not given"),
        ("verify chosen.npz", "Missing argument 'EMBEDDINGS'"),
    ],
)
def test_bad_input(pool, run, line, message):
    chosen_of(pool, run)
    result = run(line)
    assert result.status == 2
    assert message in result.err
    assert len(result.err.splitlines()) == 1


def test_a_selection_of_another_method(pool, run):
    TopK().select("F.npy", np.load("G.npy")[:, 0], 9).save("chosen.npz")
    result = run("verify chosen.npz F.npy --scores G.npy")
    assert result.status == 2
    assert "the selection was made by TopK(), which certifies nothing" in result.err


def test_a_missing_selection(pool, run):
    result = run("verify none.npz F.npy")
    assert result.status == 2
    assert "none.npz: No such file or directory" in result.err
    assert "chosen.npz" not in os.listdir()
