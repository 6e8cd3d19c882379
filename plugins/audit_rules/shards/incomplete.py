"""shards/incomplete."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, Severity, Violation, rule
from audit_rules._more import and_more

if TYPE_CHECKING:
    from audit.plugin import ShardedState


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from an older checkpoint; a part that is not stored cannot be rebuilt.",
    explained_by=("files/missing-weights", "files/missing-optimizer", "security/escaping-path"),
)
def incomplete(checkpoint: Checkpoint, shards: "tuple[ShardedState, ...]") -> Iterator[Violation]:
    """A part of a sharded state is not stored anywhere.

    ``.metadata`` says for each tensor which chunks it has and in which file each is. torch 2.13,
    ``torch.distributed.checkpoint``: a file that is not there makes one rank fail. A chunk that is in neither table is
    not missed at all: those rows keep the values that they had before the load, without a message.
    """
    for state in shards:
        if state.missing:
            where, problem = state.missing[0]
            more = and_more(state.missing, " (and {} more)")
            text = f"{where}: {problem}" if where.endswith(".metadata") else f"{where} {problem}"
            yield Violation(f"{text}{more}", file=where)
