"""Ratings by a language model as a judge, over any OpenAI-compatible server."""

from gip_gpu.signals.judge.costs import Estimate
from gip_gpu.signals.judge.ratings import judge_estimate, judge_ratings
from gip_gpu.signals.judge.report import JudgeRatings, JudgeReport
from gip_gpu.signals.judge.rubric import Rubric
from gip_gpu.signals.judge.settings import Limits, Server

__all__ = [
    "Estimate", "JudgeRatings", "JudgeReport", "Limits", "Rubric", "Server", "judge_estimate", "judge_ratings",
]  # fmt: skip
