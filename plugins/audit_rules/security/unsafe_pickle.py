"""security/unsafe-pickle."""

from collections.abc import Iterator

from audit.plugin import (
    Checkpoint,
    DamageKind,
    FileFormat,
    Layout,
    Severity,
    Violation,
    is_dangerous,
    refused_in_torch_file,
    rule,
)
from audit_rules._more import and_more
from audit_rules._roles import loaded_as
from audit_rules.security._names import unknown_in_arguments

OWN_CLASSES = {"galore_torch.": "GaLore", "q_galore_torch.": "Q-GaLore", "apollo_torch.": "APOLLO"}
"""Packages of optimizers that pickle their projector into the state, and what they are called."""


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Do not load this file; find out who wrote it, and resume from a checkpoint whose origin you know.",
)
def unsafe_pickle(checkpoint: Checkpoint, layout: Layout) -> Iterator[Violation]:
    """A file names code that does not belong in weights or in the state of optimizer, scheduler or random numbers.

    These files are pickles, and a pickle can call any function that it names while it is loaded. Names are compared
    with a list of what a sound file may have, not with known attacks: torch 2.13's list for
    ``torch.load(weights_only=True)``, with numpy's arrays for random states (Trainer 5.23, ``safe_globals``), torchao's
    tensors in its optimizers, and the classes of DeepSpeed and of ``torch.distributed.checkpoint`` in their own files,
    which are loaded without restriction. The names are read; nothing is imported or called.

    Another name is not necessarily an attack: GaLore pickles its projector into ``optimizer.pt``. Trainer refuses to
    load such a file, so the checkpoint cannot be resumed in any case. In files that no resume reads, and in those of
    PyTorch Lightning, whose hyper-parameters may be of any class, only names that are known to run code are reported;
    for ``training_args.bin`` see security/unsafe-arguments.
    """
    arguments = checkpoint.backend.arguments_file
    for file, damage in checkpoint.damages:
        if damage.kind is DamageKind.UNSAFE and file.path != arguments:
            yield Violation(f"{file.path} {damage.message}", file=file.path)
    owned = layout.read_by_resume
    for path, file in checkpoint.files.items():
        if file.format not in (FileFormat.TORCH, FileFormat.PICKLE) or path == arguments or not file.readable:
            continue
        names = getattr(file.optional("value"), "names", ())
        if path in owned and loaded_as(path, layout) != "whole":
            found = [name for name in names if refused_in_torch_file(name, loaded_as(path, layout))]
        else:
            found = [name for name in names if is_dangerous(name) and unknown_in_arguments(name)]
        if found and path == layout.optimizer and (name := _optimizer_of(found)):
            yield Violation(
                f"{path} has {found[0]}, which {name} itself saves there, and which a resume refuses to load (weights_only)",
                file=path,
                actual=", ".join(found[:10]),
                remedy=f"The optimizer wrote it: Trainer cannot resume with {name}, unless the program first allows the class "
                "(torch.serialization.add_safe_globals). Start a new run from these weights.",
            )
        elif found:
            yield Violation(_message(path, found), file=path, actual=", ".join(found[:10]))
    for state in checkpoint.optional("shards") or ():
        for path, sections in state.sections.items():
            if dangerous := [name for section in sections for name in section.names if is_dangerous(name)]:
                yield Violation(_message(path, dangerous), file=path, actual=", ".join(dangerous[:10]))


def _optimizer_of(names: list[str]) -> str | None:
    """The optimizer whose own projector classes these are, None if there is any other name."""
    found = {title for prefix, title in OWN_CLASSES.items() for name in names if name.startswith(prefix)}
    own = all(name.startswith(tuple(OWN_CLASSES)) and name.endswith("Projector") for name in names)
    return found.pop() if own and len(found) == 1 and not any(map(is_dangerous, names)) else None


def _message(path: str, names: list[str]) -> str:
    worst = next((name for name in names if is_dangerous(name)), None)
    if worst:
        return f"{path} names {worst}, which runs code as soon as the file is loaded"
    more = and_more(names, " and {} more")
    return f"{path} names {names[0]}{more}, which a resume refuses to load (weights_only)"
