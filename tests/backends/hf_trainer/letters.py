"""A tokenizer that is built here in a moment: one token a byte, a few pairs merged, and a chat template."""

from collections.abc import Mapping, Sequence
from typing import Any

PLAIN = (
    "{% for message in messages %}"
    "<|start|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
MARKED = (  # a line break after a tag would be swallowed
    "{% for message in messages %}"
    "{{ '<|start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|end|>' }}{% endif %}"
    "{{ '\n' }}"
    "{% endfor %}"
)
VOCABULARY = 300


def letters(template: str | None = PLAIN, **special: Any) -> Any:
    """Make a tokenizer of VOCABULARY tokens: special ones, the 256 bytes, "th" and "he" as one token each."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = {"eos_token": "<|end|>", "pad_token": "<|pad|>", "additional_special_tokens": ["<|start|>"], **special}
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["<|pad|>", "<|start|>", "<|end|>", *alphabet, "th", "he", "=4"]
    model = models.BPE(
        vocab={word: number for number, word in enumerate(words)}, merges=[("t", "h"), ("h", "e"), ("=", "4")]
    )
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    made.chat_template = template
    return made


def learned(tokenizer: Any, example: Mapping[str, Sequence[int]]) -> str:
    """Return the text of an example with brackets around what is learned."""
    text, inside = "", False
    for number, label in zip(example["input_ids"], example["labels"], strict=True):
        assert label in (number, -100)
        if (label != -100) != inside:
            text, inside = text + ("]" if inside else "["), not inside
        text += tokenizer.decode([number])
    return text + "]" * inside
