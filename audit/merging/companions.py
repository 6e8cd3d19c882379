"""The files beside the weights: configuration and generation from the base, the tokenizer from whoever changed it last.

A checkpoint of Trainer has the tokenizer that was trained with, if there was one; otherwise that of the base is right.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from audit.errors import AuditError
from audit.facts.checkpoint import Checkpoint
from audit.merging.base import CONFIG, INDEX, Base
from audit.merging.digests import BLOCK
from audit.merging.place import write_new
from audit.merging.plan import Plan
from audit.storage import FILE, ContextReader

TOKENIZER = frozenset(
    {
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
        "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "tekken.json",
        "chat_template.jinja", "chat_template.json",
    }
)  # fmt: skip
PROCESSOR = frozenset({"preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"})
_MARKS = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
"""One of these says that there is a tokenizer."""
_LARGEST = 256 << 20
"""Bytes: no tokenizer has more."""


class Companions(NamedTuple):
    """The names of the files beside the weights; ``trained``: those of the checkpoint."""

    trained: tuple[str, ...]
    others: tuple[str, ...]


def copy_companions(base: Base, checkpoint: Checkpoint, plan: Plan, home: str) -> Companions:
    """Write all but the weights into ``home``. Raises AuditError, OSError.

    ``config.json`` is the base's, byte for byte unless the plan changes its type or unties it. Code of a model that
    brings its own (``*.py``) comes along from the base, never from the checkpoint.
    """
    theirs = {name for name, entry in checkpoint.entries.items() if entry.kind == FILE and "/" not in name}
    own = sorted(os.listdir(base.path))
    tokenizer = TOKENIZER & theirs if theirs.intersection(_MARKS) else frozenset()
    trained = sorted(tokenizer | (PROCESSOR & theirs))
    _copy(trained, lambda name: checkpoint.run.storage.open(f"{checkpoint.name}/{name}"), home)
    wanted = {"generation_config.json"} | (PROCESSOR - theirs) | (frozenset() if tokenizer else TOKENIZER)
    others = [name for name in own if name in wanted or name.endswith(".py")]
    _copy(others, base.open, home)
    texts = {CONFIG: _config(base, plan), INDEX: plan.index_text}
    for name, text in texts.items():
        if text is not None:
            write_new(os.path.join(home, name), [text])
            others.append(name)
    return Companions(tuple(trained), tuple(sorted(others)))


def _config(base: Base, plan: Plan) -> bytes:
    if plan.dtype is None and not plan.untied:
        with base.open(CONFIG) as reader:
            return reader.read(0, reader.size)
    return (json.dumps(_changed(base.config, plan), indent=2) + "\n").encode()


def _changed(config: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """The configuration with the type of the weights, and untied, in its parts (``text_config``) as well."""
    found = {key: _changed(value, plan) if isinstance(value, dict) and "model_type" in value else value
             for key, value in config.items()}  # fmt: skip
    if plan.dtype is not None:
        found["torch_dtype" if "torch_dtype" in found else "dtype"] = plan.dtype
    if plan.untied:
        found["tie_word_embeddings"] = False
    return found


def _copy(names: Iterable[str], opened: Callable[[str], ContextReader], home: str) -> None:
    for name in names:
        with opened(name) as reader:
            if reader.size > _LARGEST:
                raise AuditError(f"{name}: has {reader.size} bytes, more than a file beside the weights can have")
            pieces = (reader.read(begin, BLOCK) for begin in range(0, reader.size, BLOCK))
            write_new(os.path.join(home, name), pieces)
