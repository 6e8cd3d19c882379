"""Tokenize a row of a data file, and mark which of its tokens are learned (docs/data.md)."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from audit.plugin import IGNORED_LABEL, ConfigError

COMPLETION, ALL = "completion", "all"


ALPACA = "Below is an instruction that describes a task. Write a response that appropriately completes the request."
ALPACA_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a response "
    "that appropriately completes the request."
)
"""How the prompts of Stanford Alpaca begin (train.py of tatsu-lab/stanford_alpaca)."""


class Refused(Exception):
    """A row that cannot become an example; its text is the reason."""


def refusal(error: Exception) -> str:
    """Return in one line why a row was refused, by this module or by the tokenizer."""
    if isinstance(error, Refused):
        return str(error)
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"the tokenizer or its chat template refuses it: {reason[:200]}"


def smallest(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the smallest sensible row of the same shape: what refuses it refuses every row."""
    question, answer = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
    if "messages" in row:
        return {"messages": [question, answer]}
    if "instruction" in row:
        return {"instruction": "a", "output": "b"}
    if isinstance(row.get("prompt"), str):
        return {"prompt": "a", "completion": "b"}
    if "prompt" in row:
        return {"prompt": [question], "completion": [answer]}
    return {"text": "a b"}


def given(row: Mapping[str, Any]) -> tuple[list[int], list[int]]:
    """Return a row of input_ids as it is."""
    return row["input_ids"], row.get("labels", row["input_ids"])


def given_labels(row: Mapping[str, Any]) -> tuple[list[int], list[int]]:
    """Return a row of input_ids that has labels. Raises Refused."""
    if "labels" not in row:
        raise Refused("has no labels, and the loss is on completions (data.loss_on)")
    return given(row)


class Writer:
    """Tokenizes rows of text, messages, and prompt and completion. The methods return ids and labels."""

    def __init__(self, tokenizer: Any, loss_on: str | None) -> None:
        self._tokenizer = tokenizer
        self._loss_on = loss_on
        self._template: str | None = None

    def text(self, row: Mapping[str, Any]) -> tuple[list[int], list[int]]:
        """Return the text and the token that ends it."""
        ids = self._ended(self._ids(row["text"]))
        return ids, ids

    def prompt_completion(self, row: Mapping[str, Any]) -> tuple[list[int], list[int]]:
        """Return prompt and completion, joined, and the token that ends them; or one conversation."""
        prompt, completion, tools = row["prompt"], row["completion"], row.get("tools")
        if isinstance(prompt, str):
            before, ids = self._ids(prompt), self._ended(self._ids(prompt + completion))
            return ids, self._labels(ids, _common(before, ids), len(ids), ALL if self._loss_on == ALL else COMPLETION)
        return self._conversation(prompt + completion, len(prompt), tools, self._loss_on or COMPLETION)

    def alpaca(self, row: Mapping[str, Any]) -> tuple[list[int], list[int]]:
        """Return instruction, input and output as a conversation; without a chat template, as Stanford Alpaca does."""
        instruction, given_input, system = row["instruction"], row.get("input"), row.get("system")
        if self.has_template():
            asked = f"{instruction}\n\n{given_input}" if given_input else instruction
            messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": row["output"]}]
            if system:
                messages.insert(0, {"role": "system", "content": system})
            return self._conversation(messages, len(messages) - 1, None, self._loss_on or COMPLETION)
        prompt = f"{system or (ALPACA_WITH_INPUT if given_input else ALPACA)}\n\n### Instruction:\n{instruction}\n\n"
        prompt += f"### Input:\n{given_input}\n\n" if given_input else ""
        return self.prompt_completion({"prompt": f"{prompt}### Response:\n", "completion": row["output"]})

    def has_template(self) -> bool:
        """Whether the tokenizer has a chat template."""
        try:
            return bool(self._chat_template(None))
        except ConfigError:
            return False

    def messages(self, row: Mapping[str, Any]) -> tuple[list[int], list[int]]:
        """Return a conversation as the tokenizer's chat template writes it."""
        messages, tools = row["messages"], row.get("tools")
        if self._loss_on != COMPLETION:
            return self._conversation(messages, 0, tools, ALL)
        if self._tokenizer.is_fast and re.search(r"\{%-?\s*generation\b", self._chat_template(tools)):
            return self._marked(messages, tools)
        last = max((index for index, message in enumerate(messages) if message["role"] == "assistant"), default=None)
        if last is None:
            raise Refused("has no message of the assistant, and the loss is on completions (data.loss_on)")
        return self._conversation(messages, last, tools, COMPLETION, last + 1)

    def _conversation(
        self, messages: list[Any], start: int, tools: Any, loss_on: str, end: int | None = None
    ) -> tuple[list[int], list[int]]:
        """Learn the messages from number ``start`` up to ``end``, or all if the loss is on all."""
        text = self._render(messages, tools)
        ids = self._ids(text, special=False)
        if loss_on == ALL:
            return ids, ids
        before = self._before(text, messages[:start], tools)
        last = len(ids)
        if end is not None and end < len(messages):
            upto = self._render(messages[:end], tools)
            last = _common(self._ids(upto[: _common(upto, text)], special=False), ids)
        return ids, self._labels(ids, _common(self._ids(before, special=False), ids), last, loss_on)

    def _before(self, text: str, messages: list[Any], tools: Any) -> str:
        """Return the beginning of ``text`` that asks for the completion, with the header of the assistant."""
        if not messages:
            return ""
        before = self._render(messages, tools, add_generation_prompt=True)
        if text.startswith(before):
            return before
        plain = self._render(messages, tools)
        if text.startswith(plain):  # some templates start with a thought that this answer does not have
            return text[: max(len(plain), _common(before, text))]
        raise Refused(
            "the chat template changes the messages before the completion when the completion follows, so the part to learn "
            'is unknown; set data.loss_on = "all" or use a template with {% generation %}'
        )

    def _marked(self, messages: list[Any], tools: Any) -> tuple[list[int], list[int]]:
        """Learn what the template marks as written by the assistant."""
        made = self._tokenizer.apply_chat_template(
            messages, tools=tools, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        ids, marks = made["input_ids"], made["assistant_masks"]
        return ids, [number if mark else IGNORED_LABEL for number, mark in zip(ids, marks, strict=True)]

    def _render(self, messages: list[Any], tools: Any, **options: Any) -> str:
        self._chat_template(tools)
        return self._tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, **options)

    def _chat_template(self, tools: Any) -> str:
        """Return the template. Raises ConfigError if the tokenizer has none."""
        if self._template is None:
            try:
                self._template = self._tokenizer.get_chat_template(tools=tools)
            except (ValueError, AttributeError) as error:
                raise ConfigError(
                    "data.format: messages need a chat template, and the tokenizer has none: use the tokenizer of a "
                    "chat model, or rows with text or prompt and completion"
                ) from error
        return self._template

    def _ids(self, text: str, special: bool = True) -> list[int]:
        if not text:
            return []
        return self._tokenizer(text, add_special_tokens=special, return_attention_mask=False, verbose=False)[
            "input_ids"
        ]

    def _ended(self, ids: list[int]) -> list[int]:
        end = self._tokenizer.eos_token_id
        return ids if end is None or ids[-1:] == [end] else [*ids, end]

    def _labels(self, ids: list[int], start: int, end: int, loss_on: str) -> list[int]:
        if loss_on == ALL:
            return ids
        return [number if start <= place < end else IGNORED_LABEL for place, number in enumerate(ids)]


def _common(one: Sequence[object], other: Sequence[object]) -> int:
    """Return how many tokens or letters both start with: a token may span the end of a text."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count
