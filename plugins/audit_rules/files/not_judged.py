"""files/not-judged."""

from collections.abc import Iterator, Mapping

from audit.plugin import Checkpoint, Severity, Unread, Violation, rule
from audit_rules._more import and_more


@rule(
    Severity.INFO,
    remedy="Nothing was found against it, and nothing is proven: try a resume from it, and keep an older checkpoint until "
    "that has worked.",
)
def not_judged(checkpoint: Checkpoint, unread: Mapping[str, Unread]) -> Iterator[Violation]:
    """The checkpoint is not judged: a resume reads files that this program does not.

    These are the parts of sharded states that no reader here understands (DeepSpeed's ``global_stepN/``, FSDP's local
    states, optimizers that are saved for each rank under names of their own), and whatever a backend says that a resume
    reads and that is in no format that is read, or too large for it. What else is in the checkpoint is judged as ever.

    It is neither an error nor a warning. The guard hands such a checkpoint out with a note, and not at all with
    ``--strict``; it is never sealed and never counts as proven, so `audit prune` removes nothing because of it.
    """
    own = [path for path, item in unread.items() if not item.damaged]  # each of the others has a finding
    if own:
        more = and_more(own, " (and {} more files that a resume reads)")
        yield Violation(f"is not judged: {own[0]} {unread[own[0]].reason}{more}", file=own[0])
