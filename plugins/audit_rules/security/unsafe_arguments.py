"""security/unsafe-arguments."""

from collections.abc import Iterator
from typing import Any

from audit.plugin import (
    Checkpoint,
    Damage,
    DamageKind,
    NotApplicable,
    PickleCall,
    PickleGlobal,
    Severity,
    Violation,
    plain_name,
    rule,
)
from audit_rules._more import and_more
from audit_rules.security._names import unknown_in_arguments

_OBJECTS = 200_000


@rule(
    Severity.WARNING,
    remedy="Do not load training_args.bin, and find out who wrote it; no resume reads it, so the checkpoint works without it.",
)
def unsafe_arguments(checkpoint: Checkpoint) -> Iterator[Violation]:
    """The pickle in `training_args.bin` names something that is not a class of settings.

    ``torch.load`` cannot load this file with ``weights_only=True``, so loading it runs whatever it names. Trainer never
    reads it. Allowed are the class of the arguments itself, whatever its name, classes of settings of any module
    (``SFTConfig``, ``DeepSpeedPlugin``, ``SamplingParams``), any class of the libraries that trainers are made of,
    enums, torch's types, paths, dates, plain containers, and ``getattr`` of a member of an enum. Functions are not
    allowed, nor is anything else of Python's standard library.
    """
    path = checkpoint.backend.arguments_file
    file = checkpoint.file(path, "training arguments")
    damage = checkpoint.content(file) if file.readable else None
    if isinstance(damage, Damage):
        if damage.kind is not DamageKind.UNSAFE:
            raise NotApplicable(f"{path} {damage.message}")
        yield Violation(f"{path} {damage.message}", file=path)
        return
    arguments = checkpoint.training_arguments
    found = [name for name in arguments.names if unknown_in_arguments(name, arguments.class_name)]
    if "builtins.getattr" in map(plain_name, found) and _fetches_members(file.value.value):
        found = [name for name in found if plain_name(name) != "builtins.getattr"]
    if found:
        more = and_more(found, " and {} more")
        message = f"{path} names {found[0]}{more}, which is not a class of settings"
        yield Violation(message, file=path, actual=", ".join(found[:10]))


def _fetches_members(root: Any) -> bool:
    """Say whether every ``getattr`` in a pickle fetches a named member of a class of settings and calls nothing."""
    todo: list[Any] = [root]
    seen: set[int] = set()
    found = False
    while todo and len(seen) < _OBJECTS:
        value = todo.pop()
        if type(value) not in (dict, list, tuple, PickleCall) or id(value) in seen:
            continue
        seen.add(id(value))
        if type(value) is PickleCall:
            if plain_name(value.function) == "builtins.getattr":
                found = True
                if not _is_member(value.args):
                    return False
            elif plain_name(value.function).startswith("builtins.getattr()"):
                return False
            todo += [value.args, value.state, value.items]
        elif type(value) is dict:
            todo += [*value, *value.values()]
        else:
            todo += value
    return found


def _is_member(args: tuple[Any, ...]) -> bool:
    if len(args) != 2 or type(args[0]) is not PickleGlobal or type(args[1]) is not str:
        return False
    return not unknown_in_arguments(args[0].name) and not args[1].startswith("_")
