"""plan/base-changed."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from audit.plugin import Checkpoint, NotApplicable, Plan, Severity, Violation, rule, shortened

_CACHED = re.compile(r"models--([^/]+)/snapshots/[0-9a-f]+/?$")
"""Where huggingface_hub keeps ``org/name``: ``models--org--name/snapshots/COMMIT``."""


_DIGESTS = {
    "config": "another config.json",
    "tensors": "tensors of other names, types or shapes",
    "weights": "other weights in the same tensors",
}
"""What is compared only if it is known on both sides, in words."""

_OWN = ("tensors", "weights", "seed", "kind")
"""What does not matter for a whole model, which is resumed with its own weights."""


@rule(
    Severity.ERROR,
    remedy="Plan the base model that the adapter was trained on, or start a new run in its own directory.",
)
def base_changed(plan: Plan, base_model: str | None, resume: Checkpoint) -> Iterator[Violation]:
    """The adapter would be combined with another base model than it was trained on.

    An adapter is a difference to one model. It silently loads on another one of the same shapes and is meaningless
    there; Trainer compares neither names nor weights.

    `audit train` records the identity of the base model with each leg: digests of its configuration, of the names,
    types and shapes of its tensors and of its weights (whole up to 64 MB, of more the beginning of each tensor),
    ``dtype`` and quantization; of random weights their sizes and seed. So a model that was replaced under the same name
    or path is found, and one that was moved or renamed passes. Of a whole model only the configuration and the settings
    count.

    Without a record (an older ledger, another backend) it is compared by name with ``base_model_name_or_path`` in
    ``adapter_config.json``. The same last part counts as the same model if one of the two is a path: directories are
    moved, and models downloaded. Random weights come from the seed, so another seed is another model.
    """
    recorded, identity = plan.optional("recorded_base"), plan.optional("base_identity")
    adapter = bool(resume.layout.adapters)
    known = recorded is not None and identity is not None
    if known and (told := list(_differences(recorded, identity, adapter))):
        yield Violation(
            f"The base model is not the one that {resume.name} was trained on: {'; '.join(text for _, text in told[:4])}",
            expected=recorded.get(told[0][0]),
            actual=identity.get(told[0][0]),
        )
        return
    if not adapter:
        if not known:
            raise NotApplicable(f"{resume.name} has no adapter; a whole model is resumed with its own weights")
        return
    if known and ("weights" in recorded.keys() & identity.keys() or recorded.get("kind") == "random"):
        return
    yield from _by_name(plan, base_model, resume)


def _differences(recorded: Mapping[str, str], identity: Mapping[str, str], adapter: bool) -> Iterator[tuple[str, str]]:
    """Yield what differs, by its name and in words."""
    keys = dict.fromkeys([*recorded, *identity])
    if not adapter:
        keys = {key: None for key in keys if key not in _OWN}
    if adapter and recorded.get("kind") != identity.get("kind"):
        yield "kind", f"its weights are planned as {identity.get('kind')}, they were {recorded.get('kind')}"
        return
    told = False
    for key in ("config", "tensors", "weights"):
        if key in keys and key in recorded and key in identity and recorded[key] != identity[key] and not told:
            told = key == "tensors"
            yield key, f"it has {_DIGESTS[key]}{_commits(recorded, identity)}"
    for key in sorted(keys.keys() - _DIGESTS.keys() - {"commit", "kind", "name"}):
        if recorded.get(key) != identity.get(key):
            yield key, f"{key} is {_shown(identity.get(key))}, was {_shown(recorded.get(key))}"


def _commits(recorded: Mapping[str, str], identity: Mapping[str, str]) -> str:
    one, other = recorded.get("commit"), identity.get("commit")
    return f" (commit {_shown(other)[:12]}, was {_shown(one)[:12]})" if one != other else ""


def _shown(value: str | None) -> str:
    return "not set" if value is None else shortened(value, 80)


def _by_name(plan: Plan, base_model: str | None, resume: Checkpoint) -> Iterator[Violation]:
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
