"""`python -m bench schedule`: the model of a run on many ranks against a simulation with measured constants."""

from bench.runner.command import Request, suite
from bench.runner.report import Report
from bench.schedule import constants
from bench.schedule.report import ALLOWED, RANKS, paper, report, scaling


@suite("schedule", "schedule.md")
def main(request: Request) -> Report:
    """Measure steps and messages on this machine, simulate many ranks, and compare with the model's closed form;
    failure: it is off by more than a fifth."""
    picks = 40 if request.quick else 2000
    found = constants.measure(request.quick, request.done)
    scaled = scaling(found, RANKS[:4] if request.quick else RANKS, picks, request.done)
    base, varied = paper(picks, request.done)
    off = [each for each in [*scaled, *varied] if abs(each.ratio - 1) > ALLOWED]
    # The few picks of a quick run do not average out.
    failures = [] if request.quick else [f"{each.title}: simulated / model is {each.ratio:.2f}" for each in off]
    return Report(report(found, scaled, base, varied, request.quick), failures)
