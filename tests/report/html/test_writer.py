"""The file of a report: its figures against plain NumPy, its texts, its errors."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gip_gpu
from gip_gpu.exceptions import DataWarning
from gip_gpu.report import write
from gip_gpu.report.html import inputs
from gip_gpu.report.html.texts import OTHER, PICK, as_text
from tests.support.report_page import HOSTILE, SCRIPT, blobs, data_of, made, texts_of


def unit(F: Any) -> np.ndarray:
    rows = np.asarray(F, np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_nearest_picks_are_those_of_plain_numpy(tmp_path: Path) -> None:
    path, chosen, F = made(tmp_path)
    data, rows = data_of(path), unit(F)
    cosines = rows @ rows[chosen].T
    assert data["picks"].tolist() == chosen.tolist()
    others = np.setdiff1d(np.arange(len(F)), chosen)
    assert (data["nearest"][others] == cosines.argmax(axis=1)[others]).all()
    assert data["cosine"] / 65535 * 2 - 1 == pytest.approx(np.clip(cosines.max(axis=1), -1, 1), abs=2e-5)
    among = rows[chosen] @ rows[chosen].T
    np.fill_diagonal(among, -1)
    assert data["other"] == pytest.approx(among.max(axis=1), abs=1e-6)
    assert data["gains"] == pytest.approx(chosen.gains, rel=1e-6)
    assert data["explained"] == pytest.approx(chosen.explained, rel=1e-6)


def test_the_map_is_the_plane_of_the_largest_variance(tmp_path: Path) -> None:
    path, _, F = made(tmp_path)
    data, rows = data_of(path), unit(F)
    centred = rows - rows.mean(axis=0)
    main = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    for shown, direction in zip((data["x"], -data["y"].astype(float)), main.T, strict=True):
        assert abs(np.corrcoef(shown, direction)[0, 1]) > 0.999999
    # One unit for both axes: distances on the map are those in the plane.
    spread = [np.ptp(values.astype(float)) for values in (data["x"], data["y"])]
    assert spread[1] / spread[0] == pytest.approx(np.ptp(main[:, 1]) / np.ptp(main[:, 0]), rel=1e-3)


def test_near_duplicates_are_counted(tmp_path: Path) -> None:
    F = np.eye(40, dtype=np.float32)
    F = np.concatenate([F, F[:10] + np.float32(1e-3)])  # 20 of 50 rows have a near-copy
    chosen = gip_gpu.select(F, np.r_[np.full(40, 2.0), np.ones(10)] + np.arange(50) / 1000, 30, device="cpu")
    page = write(chosen, tmp_path / "r.html", F).read_text()
    assert re.search(r'in the pool</th><td class="num">40 %', page)
    assert re.search(r'among the picks</th><td class="num"><strong>0 %', page)
    kept = set(chosen.tolist())
    left_out = sum(1 for i in range(10) if (i in kept) != (i + 40 in kept))
    assert f"{left_out} rows\n" in page
    assert re.search(
        r'in the pool</th><td class="num">0 %', write(chosen, tmp_path / "r.html", F, near=1.0).read_text()
    )


def test_groups_are_counted_and_folded(tmp_path: Path) -> None:
    labels = ["big"] * 200 + [f"<i>{i}</i>" for i in range(100)]
    path, chosen, _ = made(tmp_path, groups=labels)
    data, page = data_of(path), path.read_text()
    assert len(data["groups"]) == 40
    assert data["groups"][0] == "big"
    assert data["groups"][-1] == "other, 62 groups"
    sizes = np.bincount(data["group"])
    assert sizes[0] == 200
    assert sizes[-1] == 62
    big = sum(i < 200 for i in chosen)
    row = re.search(r'<th scope="row" dir="auto">big</th>.*?</tr>', page, re.S)
    assert row is not None
    assert re.findall(r'<td class="num">([\d.]+)</td>', row[0]) == ["200", str(big), f"{big / 40 / (200 / 300):.2f}"]
    assert "<i>0</i>" not in page
    assert "&lt;i&gt;" in page


def test_clusters_find_the_cones_and_are_named_by_their_words(tmp_path: Path) -> None:
    words = ["apples and pears", "rivers and lakes", "piano and violin"]
    texts = [f"{words[i % 3]} number{i}" for i in range(300)]
    path, _, _ = made(tmp_path, texts=texts)
    data = data_of(path)
    for cluster, name in enumerate(data["groups"]):
        members = np.flatnonzero(data["group"] == cluster) % 3
        assert len(set(members.tolist())) == 1
        assert set(re.findall(r"[a-z]+", name.partition(": ")[2])) <= set(words[members[0]].split()) - {"and"}
        assert name.partition(": ")[2]


def test_texts_are_kept_whole_cut_or_made_visible(tmp_path: Path) -> None:
    texts = [HOSTILE[i % len(HOSTILE)] for i in range(300)]
    path, chosen, _ = made(tmp_path, texts=texts)
    data = data_of(path)
    shown = texts_of(data)
    for i, (given, kept, cut) in enumerate(zip(texts, shown, data["text"]["cut"], strict=True)):
        most = PICK if i in chosen else OTHER
        assert cut == max(0, len(given) - most)
        plain = given[:most].encode("utf-8", "replace").decode()
        assert kept == "".join(chr(0x2400 + ord(c)) if c < " " and c not in "\n\t" else c for c in plain)
    assert path.stat().st_size < 300_000


def test_nothing_of_the_data_is_markup(tmp_path: Path) -> None:
    path, _, _ = made(
        tmp_path, texts=[SCRIPT] * 300, groups=[SCRIPT, "b", "c"] * 100, score_names=[SCRIPT], title=SCRIPT,
        command=SCRIPT, stability={SCRIPT: SCRIPT}, notes=[SCRIPT],
    )  # fmt: skip
    page = path.read_text()
    assert "<img" not in page
    assert "window.hacked" in page
    assert page.count("<script") == page.count("</script>") == 2
    assert not re.search(r"""(src|href)=["']?(https?:|//)""", page)
    assert "default-src 'none'" in page


def test_the_same_input_gives_the_same_file(tmp_path: Path) -> None:
    F = blobs(200)
    chosen = gip_gpu.select(F, F[:, :2] ** 2, 20, device="cpu")
    files = [write(chosen, tmp_path / f"{i}.html", F, F[:, :2] ** 2, texts=["a b"] * 200).read_bytes() for i in (1, 2)]
    assert files[0] == files[1]


@pytest.mark.parametrize(("m", "d", "k"), [(1, 4, 1), (2, 3, 1), (3, 2, 3), (3, 1, 1), (9, 5, 9)])
def test_tiny_pools(m: int, d: int, k: int, tmp_path: Path) -> None:
    F = np.random.default_rng(m).random((m, d)).astype(np.float32) + 0.1
    chosen = gip_gpu.select(F, np.arange(1.0, m + 1), k, device="cpu")
    data = data_of(write(chosen, tmp_path / "r.html", F, np.arange(m), texts=["x"] * m))
    assert data["picks"].tolist() == chosen.tolist()
    assert len(data["x"]) == m


def test_rows_that_are_all_equal(tmp_path: Path) -> None:
    F = np.ones((50, 6), np.float32)
    chosen = gip_gpu.select(F, np.ones(50), 3, device="cpu")
    data = data_of(write(chosen, tmp_path / "r.html", F))
    assert len(set(data["x"].tolist())) == 1
    assert data["groups"] == ["cluster 1"]


def test_missing_scores_and_rows_are_said(tmp_path: Path) -> None:
    F, G = blobs(300), np.random.default_rng(1).normal(size=(300, 2)) ** 2
    G[np.random.default_rng(2).random((300, 2)) < 0.7] = np.nan
    F[7] = np.nan
    filled = np.nan_to_num(G)
    filled[7] = 1.0
    chosen = gip_gpu.select(F, filled, 20, on_nan="drop", device="cpu")
    path = write(chosen, tmp_path / "r.html", F, G)
    data, page = data_of(path), path.read_text()
    assert 7 not in data["row"]
    assert len(data["row"]) == 299
    assert data["row"][data["picks"]].tolist() == chosen.tolist()
    assert "1 rows with values that are not finite" in page.replace("\n", " ")
    missing = int(np.isnan(np.delete(G, 7, axis=0)[:, 0]).sum())
    assert f'<td class="num">{missing}</td>' in page
    counts = data["scores"][0]["histogram"]["sets"]
    assert counts["pool"]["count"] == 299 - missing


def test_a_large_pool_is_sampled_and_said(tmp_path: Path) -> None:
    asked: list[np.ndarray] = []

    def texts(indices: np.ndarray) -> list[str]:
        asked.append(indices)
        return [f"row {i}" for i in indices]

    path, chosen, F = made(tmp_path, 3000, 30, texts=texts, points=500)
    data = data_of(path)
    assert len(data["x"]) == 500
    assert set(chosen) <= set(data["row"].tolist())
    assert data["row"][data["picks"]].tolist() == chosen.tolist()
    assert texts_of(data) == [f"row {i}" for i in data["row"]]
    assert len(asked) == 1
    assert "a random sample of the others, 500 rows in all" in path.read_text()
    rows = unit(F)
    assert (data["nearest"] == (rows[data["row"]] @ rows[chosen].T).argmax(axis=1)).mean() > 0.95


def test_files_are_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    F, G = blobs(400), np.arange(1.0, 401)
    np.save(tmp_path / "F.npy", F)
    np.save(tmp_path / "G.npy", G)
    chosen = gip_gpu.select(F, G, 10, device="cpu")
    whole = write(chosen, tmp_path / "a.html", F, G).read_bytes()
    monkeypatch.setattr(inputs, "BLOCK", 100)
    assert write(chosen, tmp_path / "b.html", str(tmp_path / "F.npy"), tmp_path / "G.npy").read_bytes() == whole


def test_a_saved_selection_gives_the_same_report(tmp_path: Path) -> None:
    F = blobs(100)
    chosen = gip_gpu.select(F, F[:, 0] ** 2, 9, device="cpu")
    chosen.save(tmp_path / "c.npz")
    files = [write(each, tmp_path / "r.html", F).read_bytes() for each in
             (chosen, gip_gpu.Selection.load(tmp_path / "c.npz"))]  # fmt: skip
    assert files[0] == files[1]


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"F": blobs(59)}, ValueError, "F has 59 rows and the selection was made from 60"),
        ({"F": blobs(60)[:, :5]}, ValueError, "rows of length 5 and the selection was made from rows of length 8"),
        ({"G": np.ones(59)}, ValueError, "G has 59 rows and F has 60"),
        ({"texts": ["a"] * 59}, ValueError, "texts has 59 values and F has 60 rows"),
        ({"texts": "abc"}, TypeError, "texts is a str; it must be a sequence"),
        ({"groups": 3}, TypeError, "groups is a int; it must be a sequence"),
        ({"G": np.ones((60, 2)), "score_names": ["a"]}, ValueError, "score_names has 1 names and G has 2 columns"),
        ({"near": 0}, ValueError, "near is 0; it must be a cosine in"),
        ({"near": True}, ValueError, "near is True"),
        ({"points": 0}, ValueError, "points is 0; it must be an int of at least 1"),
        ({"path": "r.pdf"}, ValueError, "suffix '.pdf'; it must be .html or .htm"),
        ({"path": "no/folder/r.html"}, ValueError, "there is no folder"),
        ({"selection": [1, 2]}, TypeError, "selection is a list; it must be a gip_gpu.Selection"),
    ],
)
def test_errors_say_what_is_wanted(how: dict[str, Any], error: type[Exception], message: str, tmp_path: Path) -> None:
    F = blobs(60)
    selection = how.get("selection", gip_gpu.select(F, F[:, 0] ** 2, 5, device="cpu"))
    rest = {name: value for name, value in how.items() if name not in ("F", "path", "selection")}
    with pytest.raises(error, match=re.escape(message)):
        write(selection, tmp_path / how.get("path", "r.html"), how.get("F", F), **rest)
    assert not list(tmp_path.iterdir())


def test_no_picks_and_a_bad_chosen_row(tmp_path: Path) -> None:
    F = blobs(60)
    chosen = gip_gpu.select(F, F[:, 0] ** 2, 5, device="cpu")
    F[chosen[2]] = np.inf
    with (
        pytest.raises(ValueError, match="not finite in a chosen row"),
        pytest.warns(DataWarning, match="F is not what the selection was made from"),
    ):
        write(chosen, tmp_path / "r.html", F)


@pytest.mark.parametrize("missing", ["jinja2", "sklearn"])
def test_a_missing_extra_says_what_to_install(missing: str, tmp_path: Path) -> None:
    code = f"""
import sys; sys.modules[{missing!r}] = None
import numpy as np, gip_gpu.report
F = np.eye(5)
try:
    gip_gpu.report.write(gip_gpu.select(F, F[0], 1, device="cpu", sign="any"), {str(tmp_path / "r.html")!r}, F)
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == 'a report needs jinja2 and scikit-learn: pip install "gip_gpu[report]"\n'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"), (None, ""), (b"\xff\xc3\xa9", "\ufffd\xe9"), ({"text": "only"}, "only"), (3, "3"),
        ([1, 2], "[1, 2]"),
        ({"a": "x", "b": {"c": 1}}, "a: x\n\nb: 1"),
        ([{"role": "user", "content": "hi"}], "role: user\n\ncontent: hi"), ({1, }, "{1}"),
    ],
)  # fmt: skip
def test_texts_of_any_kind(value: Any, text: str) -> None:
    assert as_text(value) == text
