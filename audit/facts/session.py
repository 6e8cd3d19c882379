"""The checkpoints that one training session wrote, and what they have in common."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from audit.facts.checkpoint import MEMBERS, Checkpoint
from audit.facts.fact import Facts, Watch, fact


class Session(Facts):
    """Complete checkpoints of one lineage with the very same training arguments.

    Trainer pickles the arguments anew at every save, unchanged within a session, so equal arguments mean that the same
    files are owed.
    """

    def __init__(self, members: Sequence[Checkpoint], watch: Watch | None = None) -> None:
        self._members = tuple(members)
        self.watch = watch

    @property
    def members(self) -> tuple[Checkpoint, ...]:
        """Which checkpoints they are. What a rule says that asks for this holds until there is one more."""
        self.asked("members", None)
        return self._members

    @fact
    def adapter_directories(self) -> Mapping[str, int]:
        """How many members have an adapter in each directory ("" is the checkpoint itself)."""
        return Counter(
            directory
            for member in self._members
            for directory in {adapter.directory for adapter in member.layout.adapters}
        )

    @fact
    def usual_adapters(self) -> frozenset[str]:
        """The directories in which at least half of the members have an adapter: it was not added to some later."""
        half = len(self._members) / 2
        return frozenset(name for name, having in self.adapter_directories.items() if having >= half)

    @fact
    def scaler(self) -> str | None:
        """The file of the gradient scaler in the first member that has one."""
        return next((member.layout.scaler for member in self._members if member.layout.scaler), None)

    def asked(self, name: str, value: Any) -> None:
        """Note what changes with every member, by the name of the first: the other facts are the same nearly always."""
        if name in ("members", "adapter_directories") and self.watch is not None and self.watch.seen is not None:
            self.watch.seen.add(f"{self._members[0].name}!{MEMBERS}")


def sessions_of(lineages: Iterable[Sequence[Checkpoint]], watch: Watch | None = None) -> Iterator[Session]:
    """Yield the sessions of some lineages; checkpoints whose arguments or layout are not known are in none."""
    for lineage in lineages:
        groups: list[tuple[Mapping[str, Any], list[Checkpoint]]] = []
        by_text: dict[str, list[Checkpoint]] = {}
        for checkpoint in lineage:
            arguments = checkpoint.optional("arguments")
            if arguments is None or checkpoint.optional("layout") is None:
                continue
            if groups and groups[-1][0] == arguments:  # nearly always
                groups[-1][1].append(checkpoint)
                continue
            text = repr(arguments)
            if text in by_text:
                by_text[text].append(checkpoint)
                continue
            by_text[text] = [checkpoint]
            groups.append((arguments, by_text[text]))
        yield from (Session(members, watch) for _, members in groups)
