"""Steps of a stepper one by one, with a check after each."""

from gip_gpu.greedy.state import Reason


def check_each_pick(monkeypatch, stepper, check):
    """Makes a class of steppers take one step at a time, and call `check(stepper, state)` after each."""
    advance = stepper.advance

    def one_by_one(self, state, until):
        reason = Reason.DONE
        while state.t < until and reason is Reason.DONE:
            reason = advance(self, state, state.t + 1)
            check(self, state)
        return reason

    monkeypatch.setattr(stepper, "advance", one_by_one)
