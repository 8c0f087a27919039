"""The suite paper: every section is written, and every check can fail."""

import json
from itertools import combinations

import numpy as np
import pytest
from click.testing import CliRunner

from bench.cpu.variants import greedy
from bench.paper import bound, data, divergence, information, noise, optimum, orthogonal, suite, table6, table9
from bench.paper.suite import CLAIMS, INDEX, main
from bench.runner import pools
from bench.runner.report import Section
from bench.runner.runs import Run, Runs
from gip_gpu.reference import matching_pursuit
from gip_gpu.system import memory

JUDGED = {pools.ALPACA: (pools.ALPACA_JUDGES, 3), "wildbench_minilm_f16.npy": ("wildbench_judges.npy", 2)}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A folder with 200 rows of every file of the real data, made up."""
    folder = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(0)
    scales = 1 / np.sqrt(np.arange(1, 33))

    def cone():
        return ((rng.standard_normal((200, 32)) + 0.7) * scales).astype(np.float16)

    for name, (judges, columns) in JUDGED.items():
        np.save(folder / name, cone())
        np.save(folder / judges, rng.integers(0, 6, (200, columns), dtype=np.int8))
    np.save(folder / pools.GSM8K, cone())
    lengths = rng.integers(1, 60, (200, 3)).tolist()
    texts = [{"question": "q" * a, "answer": "<<1+1=2>>" * (c % 7) + "a" * b} for a, b, c in lengths]
    (folder / data.GSM8K_TEXTS).write_text("".join(json.dumps(text) + "\n" for text in texts))
    return folder


@pytest.fixture
def at_hand(tiny, monkeypatch):
    """Uses the tiny data as the real data."""
    monkeypatch.setattr(pools, "DATA", tiny)
    return tiny


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def a_section(title, **rest):
    return Section(title, "It does.", "Once.", ["Body."], **rest)


def first_of(row):
    """Returns a run of table 6 with these picks."""
    notes = {"timings": {"prepare": 1.0, "total": 3.0}, "picking": 2.0, "process": 4.0, "columns": "lazy"}
    return Run(3.0, 5_000_000, np.array(row).tolist(), {**notes, "rounds": [0]})


@pytest.mark.slow
def test_every_claim_writes_its_section(at_hand, tmp_path):
    result = run("--quick", "--output", tmp_path)
    assert result.exit_code == 0, result.output
    index = (tmp_path / INDEX).read_text()
    assert "Machine: " in index.split("\n\n")[1]
    for claim in CLAIMS:
        text = (tmp_path / f"{claim}.md").read_text()
        title, verdict, measured = text.split("\n\n")[:3]
        assert text in result.output
        assert title.startswith("# ")
        assert measured.startswith("Machine: ")
        assert "Quick sizes" in measured
        assert f"[{title[2:]}]({claim}.md)\n\n{verdict}\n\n{measured}" in index
        assert "nan" not in text
        assert "failures" not in text
        plot = text.rstrip().splitlines()[-1]
        assert plot.startswith("![")
        assert (tmp_path / plot[plot.rindex("(") + 1 : -1]).read_bytes().startswith(b"\x89PNG")
    for claim in ("table6", "noise", "table9", "orthogonal", "bound"):
        header = next(line for line in (tmp_path / f"{claim}.md").read_text().splitlines() if line.startswith("|"))
        assert "paper" in header or "who" in header


def test_a_claim_leaves_the_sections_of_others(tmp_path, monkeypatch):
    monkeypatch.setattr(suite, "CLAIMS", {"one": None, "two": None})
    suite.save(tmp_path, {"one": a_section("First | claim")}, quick=False)
    assert "## two\n\nNot measured yet." in (tmp_path / INDEX).read_text()
    suite.save(tmp_path, {"two": a_section("Second claim", failures=["it broke"])}, quick=False)
    index = (tmp_path / INDEX).read_text()
    assert "## [First | claim](one.md)\n\nIt does.\n\nMachine: " in index
    assert "## [Second claim](two.md)" in index
    assert "**Failed: it broke**" in (tmp_path / "two.md").read_text()
    assert "Quick" not in index


def test_without_the_data_a_claim_is_skipped_and_its_section_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(pools, "DATA", tmp_path / "nowhere")
    (tmp_path / "noise.md").write_text("kept")
    needing = [claim for claim in CLAIMS if claim not in ("table9", "orthogonal")]
    result = run("--only", ",".join(needing), "--quick", "--output", tmp_path)
    assert result.exit_code == 0
    for claim in needing:
        assert f"{claim}: skipped: real data: " in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["noise.md"]


def test_information_is_measured_on_the_pools_at_hand(at_hand, tmp_path, monkeypatch):
    monkeypatch.setattr(pools, "DATA", tmp_path)
    for name in (pools.ALPACA, pools.ALPACA_JUDGES):
        (tmp_path / name).symlink_to(at_hand / name)
    text = information.measure(quick=True).markdown(quick=True)
    assert "Alpaca: 200 x 32; ratings by 3 judges." in text
    assert f"Left out: real data: {pools.GSM8K} is not in" in text


def test_a_violated_guarantee_is_exit_status_1(tmp_path, monkeypatch):
    monkeypatch.setattr(orthogonal, "orthogonal_rows", lambda m, d, rng: rng.standard_normal((m, d)))
    result = run("--only", "orthogonal", "--quick", "--output", tmp_path)
    assert result.exit_code == 1
    text = (tmp_path / "orthogonal.md").read_text()
    assert "Does not hold" in text
    assert "is not the largest |score| left**" in text
    assert "orthogonal rows beats the top k by" in text
    assert "orthogonal: 8 x 8, mp, seed 0: pick" in result.stderr


def test_theorem_5_is_told_from_its_failure():
    rng = np.random.default_rng(1)
    F, g = orthogonal.orthogonal_rows(6, 8, rng), rng.standard_normal(6)
    assert np.abs(F @ F.T - np.eye(6)).max() < 1e-12
    for objective in orthogonal.OBJECTIVES:
        assert orthogonal.difference(F, g, objective) is None
    # The second row is the first one's twin: its score is all explained by the first pick.
    F[1] = F[0] + 1e-3 * F[2]
    assert orthogonal.difference(F, np.array([5, 4.9, 3, 2, 1, 0.5]), "mp") == 1
    assert orthogonal.shortfall(orthogonal.orthogonal_rows(5, 8, rng), rng.standard_normal(8)) < 1e-12
    assert orthogonal.shortfall(F[:5], 3 * F[0] + F[3]) > 1e-3


@pytest.mark.parametrize(("m", "d"), [(1, 1), (4, 4), (6, 9)])
def test_the_optimum_is_that_of_all_subsets(m, d):
    rng = np.random.default_rng(m)
    F, q = rng.standard_normal((m, d)), rng.standard_normal(d)

    def objective(subset):
        rows = F[list(subset)]
        return float(q @ rows.T @ np.linalg.solve(rows @ rows.T, rows @ q))

    best = [max(map(objective, combinations(range(m), k))) for k in range(1, m + 1)]
    assert optimum.optima(F, q) == pytest.approx(best, rel=1e-9)
    order = rng.permutation(m)
    reached = [objective(order[:k]) for k in range(1, m + 1)]
    assert optimum.reached(F, q, order) == pytest.approx(reached, rel=1e-9)


def test_the_readings_of_table_9():
    # Long rows far from the query have larger scores than a short one along it; the last is in the plane of two.
    F = np.array([[0.1, 0.0, 0.0], [10.0, 20.0, 0.0], [9.0, 20.0, 0.0]])
    q = np.array([1.0, 0.0, 0.1])
    assert table9.top(F, q).tolist() == [1, 2, 0]
    unit = F / np.linalg.norm(F, axis=1, keepdims=True)
    assert table9.greedy(F, q, "mp").tolist() == matching_pursuit(unit, unit @ q, 3).tolist()
    assert table9.greedy(F, q, "mp")[0] == 0
    assert table9.greedy(F, q, "lr")[0] == 0


def test_ratios_reach_1_with_all_rows_and_never_pass_it():
    found = table9.ratios(4)
    assert set(found) == set(table9.CHOOSERS)
    for values in found.values():
        assert values.shape == (4, table9.ROWS)
        assert values[:, -1] == pytest.approx(1)
        assert values.max() <= 1 + 1e-12
    assert found[table9.LR][:, 0] == pytest.approx(1)
    assert found[table9.PURSUIT].mean() > found[table9.TOP].mean()


def test_the_verdict_on_table_9_follows_the_ratios():
    spread = np.random.default_rng(0).normal(0, 0.05, (100, table9.ROWS))
    spread -= spread.mean(axis=0)
    paper, other = spread + table9.PUBLISHED, spread + 0.99
    assert table9.agrees(paper)
    assert table9.agrees(paper + 0.01)
    assert not table9.agrees(other)
    assert not table9.agrees(paper + np.eye(table9.ROWS)[3] * 0.1)
    for top, pursuit, start in ((other, paper, "Reproduces"), (paper, other, "Does not reproduce as"),
                                (other, other, "Does not reproduce in either")):  # fmt: skip
        found = {table9.TOP: top, table9.PURSUIT: pursuit, table9.LR: other}
        assert table9.section(found).verdict.startswith(start)
    assert not table9.section({name: values.clip(0, 1) for name, values in found.items()}).failures
    assert len(table9.section({name: values + 0.5 for name, values in found.items()}).failures) == 3


@pytest.mark.parametrize("reading", noise.READINGS, ids=str)
def test_noise_has_the_level_that_the_reading_says(reading):
    X = np.zeros((4000, 25))
    disturbed = reading.disturbed(X, 0.01, 0)
    size = np.sqrt((disturbed**2).sum(axis=1).mean()) if reading.per_row else disturbed.std()
    assert size == pytest.approx(0.01, rel=0.02)
    assert np.array_equal(disturbed, reading.disturbed(X, 0.01, 0))
    assert not np.array_equal(disturbed, reading.disturbed(X, 0.01, 1))


def test_overlap_with_the_undisturbed_choice(at_hand, monkeypatch):
    F, given = data.load(pools.GSM8K), data.calculations(200)
    monkeypatch.setattr(noise, "LEVELS", (0.0, 1e-3, 0.1))
    found = noise.overlaps(F, given, 2)
    for values in found.values():
        assert values.shape == (2, 3, 2)
        assert (values[:, 0] == 1).all()
        assert (values[:, 2] < 1).all()


def test_the_verdict_on_noise_follows_the_overlaps():
    paper = np.array(list(noise.PUBLISHED.values()))[:, :, None]
    near, far = noise.section({"a": paper - 0.3, "b": paper + 0.04}, 100, 8), noise.section({"a": paper - 0.3}, 100, 8)
    assert near.verdict == "Reproduces within 5 points, with noise as 'b'. More noise leaves less, as in the paper."
    assert "do not reproduce: the closest reading, 'a', is off by up to 30 points" in far.verdict
    rising = noise.section({"a": paper[:, ::-1]}, 100, 8)
    assert "More noise does not always leave less" in rising.verdict


def test_rounding_to_fewer_bits():
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    half = divergence.rounded(values, 10)
    assert half.dtype == np.float32
    # Half precision has 10 explicit bits too; these values are in its normal range.
    normal = np.abs(values) > 1e-4
    assert np.array_equal(half[normal], values.astype(np.float16).astype(np.float32)[normal])
    coarse = divergence.rounded(values, 7)
    assert not (coarse.view(np.uint32) & 0xFFFF).any()
    assert (np.abs(coarse - values) <= np.abs(values) * 2.0**-8).all()
    # Halfway between two neighbours: to the even one.
    assert divergence.rounded(np.float32([1 + 2**-8, 1 + 3 * 2**-8]), 7).tolist() == [1.0, 1 + 2 * 2.0**-7]


def test_plain_precisions_are_algorithm_1_until_rounding_decides(cone):
    F, G = cone[:300], np.random.default_rng(0).normal(size=(300, 2))
    X = F.astype(np.float64) / np.linalg.norm(F.astype(np.float64), axis=1, keepdims=True)
    reference = matching_pursuit(F, G, 40)
    assert greedy(X @ X.T, G, 40).tolist() == reference.tolist()
    found = dict(divergence.plain(F, G, 40))
    assert len(found) == 3 + 2 * len(divergence.ROUNDED)
    firsts = {name: divergence.first_difference(picks.tolist(), reference) for name, picks in found.items()}
    assert firsts["float64"] is None
    assert firsts["bf16: Gram matrix and residual rounded too"] is not None


def test_other_indices_than_the_references_are_a_failure(at_hand, monkeypatch):
    def certified(F, G, k):
        picks = matching_pursuit(F, G, k, on_exhausted="restart")
        yield "right", picks
        yield "wrong", np.r_[picks[:5], picks[:4:-1]]

    monkeypatch.setattr(divergence, "certified", certified)
    found = divergence.measure(quick=True)
    assert found.failures == ["wrong: pick 5 is not the reference's"]
    assert "differ as well" in found.verdict


def test_a_violated_bound_is_a_failure(at_hand):
    left, right = np.array([3.0, 4.0, 5.0]), np.array([1.0, 2.0, 2.5])
    assert bound.held(left, left).all()
    pool = data.gsm8k(quick=True)
    assert not bound.section({"a": (left, right)}, pool).failures
    wrong = bound.section({"a": (left, right), "b": (left, np.array([1.0, 4.1, 6.0]))}, pool)
    assert wrong.failures == ["b: the bound is violated after 2 picks"]
    assert wrong.verdict.startswith("Does not hold")
    assert "holds at 1 of 3 steps" in wrong.body[0]


def test_information_says_where_mi_loses():
    found = {"mp": np.array([1.0, 3.0, 2.0]), "mi": np.array([1.0, 2.0, 4.0]), "random": np.zeros(3)}
    assert information.losses(found, (1, 3)) == []
    assert information.losses(found, (1, 2)) == ["mp reaches 3 with 2 picks, mi 2"]
    pool = data.Scored("P", np.eye(3), np.eye(3), "ones")
    text = information.section([(pool, found)], (1, 2, 3), 1).markdown(quick=False)
    assert "reaches the most in 2 of 3 comparisons. The paper's matching pursuit reaches 50% to 150%" in text
    assert "It is not the best here: P: mp reaches 3 with 2 picks, mi 2." in text
    assert "**3**" in text
    assert "It loses nowhere" in information.section([(pool, found)], (1, 3), 1).markdown(quick=False)


def test_the_first_gain_of_mi_is_the_largest(at_hand):
    pool = data.gsm8k(quick=True)
    found = information.reached(pool.F, pool.G, 12, 2)
    assert set(found) == {*information.OBJECTIVES, information.RANDOM, information.TOP}
    for curve in found.values():
        assert curve.shape == (12,)
        assert (np.diff(curve) > -1e-12).all()
        assert curve[0] <= found[information.MI][0] * (1 + 1e-9)


def test_scores_of_gsm8k_are_read_off_its_texts(at_hand):
    lines = [json.loads(line) for line in (at_hand / data.GSM8K_TEXTS).read_text().splitlines()]
    pool = data.gsm8k(quick=False)
    assert pool.G.shape == (200, 4)
    assert pool.G.mean(axis=0) == pytest.approx(0, abs=1e-12)
    assert pool.G.std(axis=0) == pytest.approx(1)
    steps = [line["answer"].count("=2>>") for line in lines]
    assert data.calculations(50).tolist() == steps[:50]
    for column, raw in ((1, [len(line["answer"]) for line in lines]), (2, [len(line["question"]) for line in lines])):
        assert np.corrcoef(pool.G[:, column], raw)[0, 1] == pytest.approx(1)


@pytest.fixture
def timed(at_hand):
    """Returns a function that makes the runs of the first pool; all but one have the picks of the reference."""
    F = data.load(pools.GSM8K)
    reference = matching_pursuit(F, table6.self_compression(F), 100, on_exhausted="restart")

    def make(k=None, pick=None):
        found = [
            table6.Timed(table6.POOLS[0], 200, share, columns) for share in (0.1, 0.5) for columns in ("gram", "auto")
        ]
        for one in found:
            picks = reference[: one.k].copy()
            if (one.k, one.columns) == (k, "auto"):
                picks[pick] = reference[-1]
            one.found.runs += [first_of(reference[: one.k]), first_of(picks)]
        return found, F

    return make


@pytest.mark.parametrize(
    ("k", "pick", "failures"),
    [
        (None, None, []),
        (20, 7, ["GSM8K, k = 20, gip_gpu, its own plan: pick 7 is not that of the float64 reference"]),
        (100, 70, ["GSM8K, k = 100, gip_gpu, its own plan: pick 70 is not that of the other runs"]),
    ],
)
def test_table_6_verifies_every_run(timed, k, pick, failures):
    told, wrong = table6.verify(*timed(k, pick), 40)
    assert wrong == failures
    assert ("the first 40 picks of every run are those" in told) == (not failures)


def test_table_6_shows_what_could_not_run(timed):
    found, F = timed()
    found[1].found = Runs([], "failed with status 1: no memory", failed=True)
    assert table6.verify(found, F, 40)[1] == ["GSM8K, k = 20, gip_gpu, its own plan: failed with status 1: no memory"]
    paper, gram, own = table6._rows(found[:2])
    assert paper[2:5] == ["paper", "7.01", "0.86"]
    assert gram[2:] == ["gip_gpu, whole Gram matrix", "none", "3", "4", "5 MB"]
    assert own[3] == "not run: failed with status 1: no memory"
    assert table6._ratio(found[2], found[0]) == "1"
    assert table6._ratio(found[3], found[1]) == "not run"


def test_table_6_tells_failures_from_missing_memory(at_hand, monkeypatch):
    def measured(columns):
        timed = table6.Timed(table6.POOLS[0], 200, 0.1, columns)
        timed.found.add(timed.job(quick=True))
        return timed

    unknown = measured("no such columns")
    assert unknown.found.failed
    assert unknown.found.trouble.startswith("failed with status 1: ValueError: columns is 'no such columns'")
    monkeypatch.setattr(memory, "available", lambda: 100_000)
    whole = measured("gram")
    assert (whole.found.trouble, whole.found.failed) == ("not run: needs 160 kB, 100 kB free", False)
    assert table6._rows([whole])[1][3] == "not run: needs 160 kB, 100 kB free"
    own = measured("auto")
    assert len(own.found.runs[0].indices) == 20
