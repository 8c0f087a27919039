"""The suite schedule: the simulation equals the closed form if nothing varies, and detects a wrong form."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from click.testing import CliRunner

from bench.schedule import constants, local, suite
from bench.schedule.constants import Line
from bench.schedule.simulate import Run
from bench.schedule.suite import ALLOWED, Compared, main
from gip_gpu.planning.cluster_schedule import Schedule, tailed
from gip_gpu.planning.hardware import Link

LINK = Link("test", 1e8, 7e-6, 3e-6)
PLAIN = Schedule(
    ranks=8, d=64, n=2, link=LINK, step=2e-4, batch=32, product=3e-3, nominees=900, nominate=1e-4,
    lookahead=5e-4, served=20.0, refresh=2e-3, every=100.0,
)  # fmt: skip
SINGLE = {"batch": 1, "served": 1.0, "nominate": 0.0, "lookahead": 0.0}


@pytest.mark.parametrize("ranks", [1, 2, 3, 5, 8, 32])
def test_without_variation_the_star_is_the_closed_form(ranks):
    for link in (LINK, replace(LINK, latency=0.0), replace(LINK, overhead=0.0, bandwidth=1e12)):
        for plan in (PLAIN, replace(PLAIN, **SINGLE), replace(PLAIN, by_items=True, **SINGLE)):
            plan = replace(plan, ranks=ranks, link=link)
            assert Run(plan, drawn=False).seconds(400) == pytest.approx(plan.seconds(400), rel=1e-9)


@pytest.mark.parametrize("ranks", [1, 2, 4, 8, 64])
def test_without_variation_the_tree_is_the_closed_form(ranks):
    plan = replace(PLAIN, ranks=ranks, tree=True)
    assert Run(plan, drawn=False).seconds(400) == pytest.approx(plan.seconds(400), rel=1e-9)
    # Between two powers of two, the closed form is that of the larger tree.
    smaller = replace(PLAIN, ranks=3 * ranks // 4 + 1, tree=True)
    assert Run(smaller, drawn=False).seconds(400) <= smaller.seconds(400) * (1 + 1e-9)


@pytest.mark.parametrize("part", ["step", "product", "nominees", "nominate", "lookahead", "refresh"])
def test_a_part_that_the_model_forgets_is_found_out(part):
    broken = replace(PLAIN, **{part: 0})
    assert Run(PLAIN, drawn=False).seconds(400) != pytest.approx(broken.seconds(400), rel=1e-4)


def test_a_model_of_messages_that_is_wrong_is_found_out():
    for wrong in (replace(LINK, latency=700e-6), replace(LINK, overhead=4e-6), replace(LINK, bandwidth=2e8)):
        for tree in (False, True):
            true = Run(replace(PLAIN, tree=tree), drawn=False).seconds(400)
            assert true != pytest.approx(replace(PLAIN, tree=tree, link=wrong).seconds(400), rel=1e-4)


@pytest.mark.parametrize("tree", [False, True])
def test_with_variation_the_model_is_close_and_the_mean_is_not(tree):
    plan = replace(PLAIN, ranks=16, tree=tree, link=replace(LINK, bandwidth=1e10), spread=tailed(0.3))
    compared = Compared.of("varied", plan, 1500)
    assert abs(compared.ratio - 1) < 0.1
    even = replace(plan, spread=()).seconds(1500) / 1500
    assert compared.simulated > 1.2 * even
    assert "does not hold" in suite.verdict([replace(compared, simulated=compared.modelled * (1 + 2 * ALLOWED))])
    assert "It holds" in suite.verdict([compared])


def test_a_batch_serves_what_the_model_says():
    for served in (1.5, 20.0, 32.0):
        run = Run(replace(PLAIN, served=served))
        drawn = [run._served() for _ in range(3000)]
        assert sum(drawn) / len(drawn) == pytest.approx(served, rel=0.02)
        assert max(drawn) <= PLAIN.batch


def test_the_link_is_that_of_the_exchanges():
    """Messages over a known link give that link; if a burst took longer, the overhead is limited by the round trip."""
    link = Link("test", constants.LOOPBACK, 30e-6, 10e-6)
    two = replace(PLAIN, ranks=2, n=1, step=0.0, link=replace(link, bandwidth=1e15))
    round_trip, more = two.step_messages, constants.BURST - 1
    times = local.Times(100, 8, 10, [1e-4], [(4, 1e-3, 1e-3)], [1e-3])
    for end, found in ((10e-6, 10e-6), (100e-6, round_trip / 4)):
        told = {2: {"star": [round_trip], "burst": [round_trip + more * end]}}
        measured = constants.constants([times, times], told, 4).link
        assert measured.overhead == pytest.approx(found, rel=1e-3)
        assert 2 * measured.latency + 4 * measured.overhead == pytest.approx(round_trip)


def test_lines_have_no_negative_part():
    line = Line.through([(10, 5), (20, 7)])
    assert (line.fixed, line.each, line(30)) == pytest.approx((3.0, 0.2, 9.0))
    assert Line.through([(10, 1), (20, 3)]).fixed == 0
    assert Line.through([(10, 3), (20, 1)]).each == 0


@cache
def exchange_of_two(ranks, rounds):
    """A real exchange of two processes, told for any number."""
    return constants_exchange(2, rounds)


constants_exchange = constants.exchange


@pytest.mark.slow
def test_a_quick_run_measures_and_reports(monkeypatch, tmp_path):
    """Real steps and a real exchange; more than two processes would wait for each other's cores and for torch."""
    pytest.importorskip("torch")
    monkeypatch.setattr(constants, "exchange", lambda ranks, rounds: exchange_of_two(2, rounds))
    target = tmp_path / "schedule.md"
    result = CliRunner().invoke(main, ["--quick", "--output", str(target)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    text = target.read_text()
    assert text in result.output
    for words in ("Claim: the closed form is within 20%", "Machine: ", "quick sizes", "star of 4 real", "8 ranks",
                  "as planned, 64 devices", "batches of 1 ", "a column a pick", "a tree of 256",
                  "Nothing in this table was measured:"):  # fmt: skip
        assert words in text, words


def test_times_of_a_selection_are_those_of_its_parts():
    times = local.measure(np.random.default_rng(0).standard_normal((1500, 16)), 60)
    assert 0 < len(times.steps) <= 60
    assert sum(count for count, _, _ in times.batches) >= 60
    assert all(seconds > 0 for seconds in times.steps + times.refreshes)


def test_ranks_that_fail_are_told(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(constants.sys, "executable", "false")
    with pytest.raises(RuntimeError, match="an exchange of 2 ranks failed"):
        constants.exchange(2, 1)
