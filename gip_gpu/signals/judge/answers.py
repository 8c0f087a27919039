"""Replies of a judge, kept in an append-only file, and the state of each question."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gip_gpu.signals.examples import Pair
from gip_gpu.signals.judge.client import Reply
from gip_gpu.signals.judge.costs import token_estimate
from gip_gpu.signals.judge.parsing import BadReplyError, parse_reply
from gip_gpu.signals.judge.rubric import Rubric
from gip_gpu.signals.judge.settings import Server
from gip_gpu.signals.ledger import Ledger, content_key
from gip_gpu.system.files import AnyPath

KIND = "answers of a judge"
# Characters of a bad reply that are kept, and quoted to the judge.
QUOTED = 2000


@dataclass
class Question:
    """One distinct example and what the judge has replied about it.

    Attributes:
        key: content of the prompt and of the settings on which replies depend.
        prompt: the first message.
        rows: rows of the pool with this text.
        ratings: of each attribute, in order; None until a reply is valid.
        bad: bad replies so far, in the file or of this run.
        reason: why there are no ratings.
        last: text of the last bad reply.
        prompt_tokens, completion_tokens: of all replies.
        replies: number of replies.
        reported: whether the server reports the tokens of all of them.
    """

    key: str
    prompt: str
    rows: list[int] = field(default_factory=list)
    ratings: tuple[float, ...] | None = None
    bad: int = 0
    reason: str = ""
    last: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    replies: int = 0
    reported: bool = True

    def messages(self) -> list[dict[str, str]]:
        """Returns the next request: the prompt, and after a bad reply that reply and what is wrong with it."""
        asked = [{"role": "user", "content": self.prompt}]
        if self.bad and self.last:
            wrong = f"This reply cannot be used: {self.reason}. Reply again, with the JSON object and nothing else."
            asked += [{"role": "assistant", "content": self.last}, {"role": "user", "content": wrong}]
        return asked

    def settled(self, asks: int) -> bool:
        """Returns whether nothing more is to ask."""
        return self.ratings is not None or self.bad >= asks


class Answers:
    """Questions about a pool, with the replies of earlier runs.

    Args:
        examples: (prompt, answer) pairs.
        rubric: attributes, scale and prompt.
        server: settings of the judge.
        path: file of replies; None keeps none.
    """

    def __init__(self, examples: Sequence[Pair], rubric: Rubric, server: Server, path: AnyPath | None) -> None:
        self.rubric = rubric
        self.questions: dict[str, Question] = {}
        settings = [server.identity, list(rubric.names), rubric.low, rubric.high]
        for row, example in enumerate(examples):
            prompt = rubric.prompt(example)
            key = content_key(settings, prompt)
            self.questions.setdefault(key, Question(key, prompt)).rows.append(row)
        self._ledger = Ledger(path, KIND, self._load)

    def __enter__(self) -> "Answers":
        return self

    def __exit__(self, *_: object) -> None:
        self._ledger.close()

    def record(self, question: Question, reply: Reply) -> None:
        """Judges a reply, adds it to the question and appends it to the file."""
        found: Mapping[str, float] | None = None
        reason = ""
        try:
            found = parse_reply(reply.text, self.rubric)
        except BadReplyError as error:
            reason = str(error)
        record = {
            "key": question.key, "ratings": found, "reason": reason, "reply": "" if found else reply.text[:QUOTED],
            "prompt_tokens": reply.prompt_tokens, "completion_tokens": reply.completion_tokens,
            "reported": reply.reported,
        }  # fmt: skip
        self._ledger.add([record])
        self._apply(question, record)

    def _load(self, record: dict[str, Any]) -> None:
        # Replies about other pools, or to other settings, may be in the same file.
        question = self.questions.get(record["key"])
        if question is not None and question.ratings is None:
            try:
                self._apply(question, record)
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"the answer with key {record['key']} is damaged: {error}") from error

    def _apply(self, question: Question, record: Mapping[str, Any]) -> None:
        prompt_tokens, completion_tokens = int(record["prompt_tokens"]), int(record["completion_tokens"])
        found = record["ratings"]
        if found is None:
            question.bad += 1
            question.reason, question.last = str(record["reason"]), str(record["reply"])
        else:
            question.ratings = tuple(float(found[name]) for name in self.rubric.names)
            question.reason = ""
        question.prompt_tokens += prompt_tokens
        question.completion_tokens += completion_tokens
        question.replies += 1
        question.reported &= bool(record["reported"])

    def tokens(self) -> tuple[int, int]:
        """Returns the tokens of all prompts and of all replies."""
        found = self.questions.values()
        return sum(each.prompt_tokens for each in found), sum(each.completion_tokens for each in found)

    def expected(self, asks: int) -> tuple[int, int, bool]:
        """Returns the expected tokens of prompts and replies of the questions to ask, and whether recorded usage tells.

        One reply each; by the usage of questions with one reply if there is any, scaled by the length of the prompts.
        """
        ahead = [each for each in self.questions.values() if not each.settled(asks)]
        rough = sum(token_estimate(each.messages()) for each in ahead)
        single = [each for each in self.questions.values() if each.replies == 1 and each.reported and each.ratings]
        if not single:
            shape = [{"content": "{" + ", ".join(f'"{name}": 0.0' for name in self.rubric.names) + "}"}]
            return rough, token_estimate(shape) * len(ahead), False
        guessed = sum(token_estimate([{"content": each.prompt}]) for each in single)
        scale = sum(each.prompt_tokens for each in single) / guessed
        each_reply = sum(each.completion_tokens for each in single) / len(single)
        return round(rough * scale), round(each_reply * len(ahead)), True
