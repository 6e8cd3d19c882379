"""history/forked."""

from collections.abc import Iterator, Sequence

from audit.plugin import Checkpoint, NotApplicable, Run, Severity, Violation, rule, shortened
from audit_rules._more import and_more
from audit_rules.history._forks import Lineage, Odd, Parting, ages, lost_entries, odd_one, parting


@rule(
    Severity.ERROR,
    remedy="Keep one history: move the checkpoints of the other run to their own directory before you resume.",
    explained_by=(
        "steps/directory-mismatch",
        "steps/invalid-state",
        "history/not-ascending",
        "history/beyond-step",
        "history/invalid-value",
    ),
)
def forked(run: Run, lineages: tuple[tuple[Checkpoint, ...], ...]) -> Iterator[Violation]:
    """The directory holds checkpoints of more than one history.

    Trainer reloads ``log_history`` and appends to it, so a later checkpoint's history begins with the earlier one's. If
    it does not, several runs share the directory (17 of 100 real trees, the most common real fault), a rerun overwrote
    some checkpoints, training started over in the directory of an old run, or a file was edited. A resume takes the
    highest number, which may be the other run's, and rotation deletes across runs.

    Empty histories are no evidence. A single checkpoint that does not continue the history around it is named, and is
    not resumable; otherwise the groups are named, with their ages if the times of the files show them, and only the
    newest group is offered.
    """
    if sum(map(len, lineages)) < 2:
        raise NotApplicable("there are not two checkpoints with a history to compare")
    file = run.backend.state_file
    for lineage in lineages:
        for before, after, steps in lost_entries(lineage):
            yield Violation(
                f"The history of {before.name} lacks {len(steps)} entries of steps {min(steps)} to {max(steps)} that "
                f"{after.name} has: it was emptied or truncated",
                file=file,
                checkpoint=before.name,
                expected=len(before.history) + len(steps),
                actual=len(before.history),
                step=min(steps),
                remedy=f"Resume from {after.name}, whose history is complete; no training is lost.",
            )
    if len(lineages) < 2:
        return
    main = max(lineages, key=lambda group: (len(group), group[-1].step))
    others = [group for group in lineages if group is not main]
    named = [odd for group in others if (odd := odd_one(group, main, len(others))) is not None]
    if sum(odd.kind == "foreign" for odd in named) > 1:
        named = [odd for odd in named if odd.kind != "foreign"]
    for odd in named:
        yield _single(odd, main, file)
    culprits = {odd.checkpoint for odd in named}
    rest = [group for group in lineages if not culprits.issuperset(group)]
    if len(rest) > 1:
        yield _several(run, rest, file)


def _single(odd: Odd, main: Lineage, file: str) -> Violation:
    name, other = odd.checkpoint.name, odd.reference.name
    mine, theirs = len(odd.checkpoint.history), len(odd.reference.history)
    remedy = f"Resume from another checkpoint; move {name} out of the run, or restore its trainer state from a backup."
    if odd.kind == "emptied":
        text = f"The history of {name} is empty, that of {other} has {theirs} entries: it was emptied"
    elif odd.kind == "behind":
        text = f"The history of {name} ends after {mine} entries of that of {other}: it is an older state, copied here"
    elif odd.kind == "edited":
        text = f"The history of {name} is that of {other} except for {_difference(odd.parting)}: one of them was edited"
        remedy = "Compare both files with a backup; weights and optimizer are not affected."
    else:
        text = (
            f"The history of {name} is not that of the {len(main)} checkpoints around it ({_named(main)}): "
            f"they diverge at step {odd.parting.step}, so it belongs to another run"
        )
    return Violation(
        text,
        file=file,
        checkpoint=name,
        expected=theirs,
        actual=mine,
        remedy=remedy,
        blocks_resume=True,
        step=odd.parting.step,
    )


def _several(run: Run, groups: Sequence[Lineage], file: str) -> Violation:
    order = ages(groups, file)
    texts = []
    for index, group in enumerate(groups[:6]):
        age = ""
        if order is not None:
            age = ", the oldest" if order[0] == index else ", the youngest" if order[-1] == index else ""
        texts.append(f"{_named(group)}{_goal(group)}{age}")
    more = and_more(groups, "; and {} more", 6)
    one, other = groups[-2][-1], groups[-1][-1]
    part = parting(one.history, other.history)
    where = f"{one.name} and {other.name} diverge at step {part.step}" if part.step is not None else "they never agree"
    return Violation(
        f"{len(groups)} histories in one directory: {'; '.join(texts)}{more}. {where}"
        + ("" if part.common else ", their first entry"),
        file=file,
        expected=1,
        actual=len(groups),
        step=part.step,
    )


def _goal(group: Lineage) -> str:
    state = group[-1].optional("state")
    return f" (max_steps {state.max_steps})" if state is not None and state.max_steps else ""


def _named(group: Lineage) -> str:
    names = [str(item.step) for item in group]
    if len(names) > 4:
        names = [*names[:2], "...", names[-1]]
    return f"checkpoint-{', '.join(names)}"


def _difference(part: Parting) -> str:
    if part.key is None:
        return f"the entry of step {part.step}"
    name, mine, theirs = part.key
    return f"{_text(name)} at step {part.step} ({_text(mine)}, there {_text(theirs)})"


def _text(value: object) -> str:
    return shortened(value if isinstance(value, str) else repr(value))
