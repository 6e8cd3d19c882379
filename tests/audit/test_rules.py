"""What @rule makes of a function, and which signatures are no rule's."""

from collections.abc import Iterator

import pytest

from audit.errors import PluginError
from audit.facts.checkpoint import Checkpoint
from audit.findings import Severity, Violation
from audit.rules import rule


def test_the_signature_says_scope_needs_and_thresholds() -> None:
    @rule(Severity.WARNING, remedy="Look.", id="made/up", blocks_resume=True)
    def made(checkpoint: Checkpoint, layout: object, scan: object, *, share: float = 0.1) -> Iterator[Violation]:
        """One thing is wrong.

        It matters.
        """
        yield Violation("x")

    assert (made.id, made.family, made.scope) == ("made/up", "made", "checkpoint")
    assert (made.needs, dict(made.options)) == (("layout", "scan"), {"share": 0.1})
    assert (made.title, made.documentation) == ("One thing is wrong.", "One thing is wrong.\n\nIt matters.")
    assert made.blocks == "blocks resuming"


def test_a_scope_that_does_not_exist_is_refused() -> None:
    def made(model: object) -> Iterator[Violation]:
        yield Violation("x")

    with pytest.raises(PluginError, match="made/up"):
        rule(Severity.ERROR, remedy="Look.", id="made/up")(made)


def test_a_threshold_without_a_default_is_refused() -> None:
    def made(run: object, *, share: float) -> Iterator[Violation]:
        yield Violation("x")

    with pytest.raises(PluginError, match="needs a default"):
        rule(Severity.ERROR, remedy="Look.", id="made/up")(made)


@pytest.mark.parametrize(
    ("blocks", "exact", "words"), [(False, False, ""), (False, True, "blocks resuming with --exact")]
)
def test_what_it_blocks_is_said_in_words(blocks: bool, exact: bool, words: str) -> None:
    def made(run: object) -> Iterator[Violation]:
        yield Violation("x")

    made_rule = rule(Severity.INFO, remedy="Look.", id="a/b", blocks_resume=blocks, breaks_exactness=exact)(made)
    assert made_rule.blocks == words
