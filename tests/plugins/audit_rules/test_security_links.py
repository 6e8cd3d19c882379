"""Whether a link in a run's root leads to something else that is there."""

from types import SimpleNamespace

import pytest

from audit.plugin import Entry
from audit.storage import LINK
from audit_rules.security._links import leads_inside


@pytest.mark.parametrize(
    ("target", "inside"),
    [
        ("checkpoint-300", True),
        ("./checkpoint-300/", True),
        ("/runs/mine/checkpoint-300", True),  # the run may have been moved since
        ("checkpoint-300/adapter", True),
        ("logs/../checkpoint-300/adapter", True),
        ("../checkpoint-300/adapter", False),
        ("/checkpoint-300/adapter", False),
        ("/etc/passwd", False),
        ("latest", False),  # itself
        (None, False),
    ],
)
def test_a_link_leads_inside_if_its_first_or_last_part_is_another_entry(target: str | None, inside: bool) -> None:
    link = Entry("latest", LINK, 0, 0, 0, 0, target=target)
    run = SimpleNamespace(entries={"latest": link, "checkpoint-300": link})

    assert leads_inside(run, link) is inside  # type: ignore[arg-type]
