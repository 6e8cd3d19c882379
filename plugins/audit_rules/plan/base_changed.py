"""plan/base-changed."""

import re
from collections.abc import Iterator
from typing import Any

from audit.plugin import Checkpoint, NotApplicable, Plan, Severity, Violation, rule

_CACHED = re.compile(r"models--([^/]+)/snapshots/[0-9a-f]+/?$")
"""Where huggingface_hub keeps ``org/name``: ``models--org--name/snapshots/COMMIT``."""


@rule(
    Severity.ERROR,
    remedy="Plan the base model that the adapter was trained on, or start a new run in its own directory.",
)
def base_changed(plan: Plan, base_model: str | None, resume: Checkpoint) -> Iterator[Violation]:
    """The adapter would be combined with another base model than it was trained on.

    An adapter is a difference to one model. It silently loads on another one of the same shapes and is meaningless
    there; Trainer compares neither names nor weights.

    Compared by name with ``base_model_name_or_path`` in ``adapter_config.json``. The same last part counts as the same
    model if one of the two is a path: directories are moved, and models downloaded. Random weights come from the seed,
    so another seed is another model. A checkpoint of a whole model has its own weights and is not checked.
    """
    if not resume.layout.adapters:
        raise NotApplicable(f"{resume.name} has no adapter; a whole model is resumed with its own weights")
    held = resume.adapters[0].config.get("base_model_name_or_path")
    if base_model is None:
        if held:
            yield Violation(
                f"The base model is planned with random weights, but {resume.name} was trained on {held}",
                expected=held,
                actual="random",
            )
            return
        seed = resume.arguments.get("seed")
        if isinstance(seed, int) and seed != plan.request.seed:
            yield Violation(
                f"The base model has random weights, and their seed is {plan.request.seed}; for {resume.name} it "
                f"was {seed}",
                expected=seed,
                actual=plan.request.seed,
            )
        return
    if not isinstance(held, str) or not held:
        raise NotApplicable(f"{resume.name} does not name its base model")
    if not _same(base_model, held):
        yield Violation(
            f"The base model is planned as {base_model}, but {resume.name} was trained on {held}",
            expected=held,
            actual=base_model,
        )


def _same(one: str, other: str) -> bool:
    first, second = _name(one), _name(other)
    if first == second:
        return True
    return (_is_path(one) or _is_path(other)) and _last(first) == _last(second)


def _name(name: str) -> str:
    found = _CACHED.search(name.replace("\\", "/"))
    return found[1].replace("--", "/", 1) if found else name.replace("\\", "/").rstrip("/")


def _is_path(name: Any) -> bool:
    return name.startswith(("/", "./", "../", "~")) or "\\" in name or name.count("/") > 1


def _last(name: str) -> str:
    return name.rpartition("/")[2]
