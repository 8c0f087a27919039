"""Sequences for a causal language model: a context, and the tokens whose loss is measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gip_gpu.signals.examples import Pair

# Examples that are tokenised at a time.
BATCH = 1000


@dataclass(frozen=True)
class Scored:
    """Token ids of one sequence.

    Attributes:
        context: what the model reads first; never empty.
        target: what it is to predict.
        cut: whether tokens were left out.
    """

    context: tuple[int, ...]
    target: tuple[int, ...]
    cut: bool = False

    def __len__(self) -> int:
        return len(self.context) + len(self.target)


@dataclass(frozen=True)
class PairTokens:
    """Tokenisation of examples.

    A prompt and its answer are tokenised each by itself, so that the answer has the same tokens with and without the
    prompt. Each sequence begins with the tokenizer's BOS token, or its EOS token if it has no other, so that the first
    token of a text has a loss too.

    Attributes:
        tokenizer: of transformers.
        max_length: most tokens of a sequence.
        start: the first token.
        chat: whether a prompt is put into the tokenizer's chat template, as a user's message before the answer;
            otherwise a line break separates the two.
    """

    tokenizer: Any
    max_length: int
    start: int
    chat: bool

    def texts(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the token ids of texts, without special tokens."""
        found: list[list[int]] = []
        for first in range(0, len(texts), BATCH):
            batch = list(texts[first : first + BATCH])
            # verbose: a text that is longer than the model's window is cut later.
            encoded = self.tokenizer(batch, add_special_tokens=False, verbose=False)
            found.extend(list(map(int, ids)) for ids in encoded["input_ids"])
        return found

    def prompts(self, prompts: Sequence[str]) -> list[list[int]]:
        """Returns the token ids of prompts, up to where the answer begins; an empty prompt has none."""
        found = self.texts([self._rendered(prompt) if prompt else "" for prompt in prompts])
        # Where a model wants the first token, its chat template writes it too.
        return [ids[1:] if ids[:1] == [self.start] else ids for ids in found] if self.chat else found

    def _rendered(self, prompt: str) -> str:
        if not self.chat:
            return f"{prompt}\n"
        message = [{"role": "user", "content": prompt}]
        return str(self.tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))

    def conditioned(self, pairs: Sequence[Pair]) -> list[Scored]:
        """Returns each answer after its prompt.

        Where both do not fit, the answer keeps its first tokens and the prompt its last ones, each at least half of the
        room.
        """
        prompts, answers = self.prompts([pair[0] for pair in pairs]), self.texts([pair[1] for pair in pairs])
        return [self._fit(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]

    def alone(self, scored: Scored) -> Scored:
        """Returns the same answer without its prompt."""
        return Scored((self.start,), scored.target, scored.cut)

    def _fit(self, prompt: list[int], answer: list[int]) -> Scored:
        room = self.max_length - 1
        kept = min(len(answer), max(room - len(prompt), room - room // 2))
        left = min(len(prompt), room - kept)
        cut = kept < len(answer) or left < len(prompt)
        return Scored((self.start, *prompt[len(prompt) - left :]), tuple(answer[:kept]), cut)
