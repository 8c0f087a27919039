"""The demo, run once as a user runs it, and its measures on choices whose worth is known."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gip_gpu import cli, reference
from gip_gpu.cli import commands
from gip_gpu.report import comparison, demo, digits
from tests.support.report_page import data_of, texts_of

RUN = "import sys; from gip_gpu.cli import main; sys.exit(main(sys.argv[1:]))"


@dataclass
class Outcome:
    out: str
    err: str
    folder: Path
    chosen: list[dict[str, Any]]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("demo") / "made" / "by it"
    command = [sys.executable, "-m", "gip_gpu", "demo", "--out", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=300)
    assert done.returncode == 0, done.stderr
    lines = (folder / "chosen.jsonl").read_text("utf-8").splitlines()
    return Outcome(done.stdout, done.stderr, folder, [json.loads(line) for line in lines])


@pytest.fixture(scope="module")
def pool() -> digits.Digits:
    return digits.digits()


def tables(out: str) -> list[dict[str, list[float]]]:
    """The two tables: name, then its figures."""
    found: list[dict[str, list[float]]] = []
    for block in out.split("\n\n")[1:3]:
        rows = [re.split(r"  +", line.strip()) for line in block.splitlines()[2:]]
        found.append({name: [float(value.rstrip("%")) for value in values] for name, *values in rows})
    return found


@pytest.mark.slow
def test_it_shows_where_the_choice_wins_and_where_it_does_not(outcome: Outcome) -> None:
    assert outcome.err == ""
    accuracy, spread = tables(outcome.out)
    assert set(accuracy) == set(spread) == set(demo.COLOURS)
    ours, random, even = (accuracy[name] for name in (demo.OURS, demo.RANDOM, demo.EVEN))
    # Few images: more than a random choice, even one that takes as many of each digit. Many: no better.
    assert ours[0] > random[0] + 8
    assert ours[0] > even[0] + 3
    assert ours[1] > random[1] + 4
    assert ours[-1] - random[-1] < 3
    # Where it does not win, the table says so.
    assert accuracy[demo.KMEANS][-1] > ours[-1]
    assert accuracy[demo.PLAIN][0] < random[0]
    assert accuracy[demo.TOP][0] < 50
    assert f"against {demo.RANDOM}: better with 25, 50" in outcome.out
    assert re.search(rf"against {demo.KMEANS}: .*worse with .*200", outcome.out)
    copies = {name: row[0] for name, row in spread.items()}
    assert copies[demo.OURS] < 2 < copies[demo.RANDOM] < copies[demo.TOP]
    for part in ("selection", "comparison", "peak memory", "certificate: every pick is the float64 argmax"):
        assert part in outcome.out


@pytest.mark.slow
def test_it_ends_with_commands_for_ones_own_data(outcome: Outcome) -> None:
    lines = outcome.out.rstrip("\n").splitlines()[-4:]
    assert lines[0] == "On your own data:"
    assert "\n".join(lines[1:]) == demo.COMMANDS
    assert [line.split()[1] for line in lines[1:]] == ["embed", "select", "report"]
    for line in lines[1:]:
        # Help comes after the options were read, of which each must exist.
        if line.split()[1] in commands.commands:
            assert cli.main([*line.split()[1:], "--help"]) == 0


@pytest.mark.slow
def test_the_chosen_rows_are_those_of_the_reference(outcome: Outcome, pool: digits.Digits) -> None:
    wanted = reference.greedy(pool.embeddings, pool.scores, 50, objective="lr", query="ridge", epsilon=1.0)
    assert [item["row"] for item in outcome.chosen] == wanted.tolist()
    assert [item["rank"] for item in outcome.chosen] == list(range(50))
    for item in outcome.chosen:
        assert item["digit"] == pool.labels[item["row"]]
        assert item["copy"] == (item["row"] >= pool.originals)
        assert item["pixels"] == pytest.approx(pool.images[item["row"]], abs=1e-4)


@pytest.mark.slow
def test_the_report_shows_the_pictures(outcome: Outcome, pool: digits.Digits) -> None:
    data = data_of(outcome.folder / "report.html")
    assert data["picks"].tolist() == [item["row"] for item in outcome.chosen]
    texts = texts_of(data)
    assert texts == [digits.picture(pool, i) for i in range(len(pool.images))]
    assert texts[0].count("\n") == 8
    assert sorted(data["groups"]) == [f"digit {i}" for i in range(10)]


@pytest.mark.slow
def test_the_figure_is_drawn(outcome: Outcome) -> None:
    from matplotlib.image import imread

    image = imread(outcome.folder / "demo.png")
    assert image.shape[0] > 800
    assert image.shape[1] > 1200
    colours = {tuple(pixel) for pixel in (image[:, :, :3].reshape(-1, 3) * 255).round().astype(int)}
    assert {tuple(bytes.fromhex(hue[1:])) for hue in demo.COLOURS.values()} <= colours


def test_the_pool_has_copies_and_the_test_has_none(pool: digits.Digits) -> None:
    assert pool.images.shape == (1997, 64)
    assert pool.test_images.shape == (500, 64)
    assert Counter(pool.source.tolist()).most_common(51)[49:] == [(49, 15), (50, 1)]
    assert (pool.labels == pool.labels[pool.source]).all()
    assert np.abs(pool.images - pool.images[pool.source]).max() < 6 * digits.JITTER
    inside = {image.tobytes() for image in pool.images[: pool.originals]}
    assert not inside & {image.tobytes() for image in pool.test_images}
    other = digits.digits(1)
    assert not np.array_equal(other.images, pool.images)
    assert np.array_equal(digits.digits(1).images, other.images)


def test_measures_of_choices_of_known_worth(pool: digits.Digits) -> None:
    everything = comparison.measure(pool, np.arange(len(pool.images)))
    assert everything.distance == pytest.approx(0, abs=1e-12)
    assert everything.accuracy > 0.95
    twins = np.r_[0, pool.originals : pool.originals + digits.COPIES]  # one image and its copies
    repeated = comparison.measure(pool, twins)
    assert repeated.copies == 1
    assert repeated.accuracy == (pool.test_labels == pool.labels[0]).mean()
    assert repeated.distance > 0.5


def test_an_even_choice_takes_as_many_of_each_digit(pool: digits.Digits) -> None:
    sets = comparison.choices(pool, [20, 50], 0)
    assert set(sets) == set(demo.COLOURS)
    for drawn in sets[demo.EVEN][20]:
        assert set(Counter(pool.labels[drawn].tolist()).values()) == {2}
    for by_size in sets.values():
        for k, drawn in by_size.items():
            assert all(len(set(chosen.tolist())) == len(chosen) <= k for chosen in drawn)


@pytest.mark.parametrize("missing", ["sklearn", "jinja2", "matplotlib"])
def test_missing_extras_say_what_to_install(missing: str, tmp_path: Path) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; {RUN}"
    command = [sys.executable, "-c", code, "demo", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == f"gip-gpu: error: {demo.INSTALL}\n"
    assert 'pip install "gip_gpu[demo]"' in demo.INSTALL
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_quiet_share_and_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "SPLITS", 1)
    chosen = []
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        line = ["demo", "--out", str(tmp_path / name), "--share", "1%", "--seed", seed, "--quiet"]
        assert cli.main(line) == 0
        chosen.append((tmp_path / name / "chosen.jsonl").read_bytes())
        assert (tmp_path / name / "demo.png").stat().st_size > 20_000
        assert (tmp_path / name / "report.html").stat().st_size > 50_000
    assert capsys.readouterr() == ("", "")
    assert chosen[0] == chosen[1] != chosen[2]
    assert chosen[0].count(b"\n") == 20
    assert cli.main(["demo", "--out", str(tmp_path / "a"), "--share", "0.001"]) == 2
    assert "at least 10 of the 1,997 images" in capsys.readouterr().err
