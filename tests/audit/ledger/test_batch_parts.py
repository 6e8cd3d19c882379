"""What a batch is made of is read back as it was written; any other shape does no harm."""

from typing import Any

import pytest

from audit.ledger.batch_parts import Drawn, Part, as_drawn, as_parts, digest_of_parts

PART = Part("d", "a.jsonl", 10, 2, "r")
DRAWN = Drawn("d", "a.jsonl", (0, 4))


def test_parts_and_drawn_rows_are_read_back() -> None:
    assert as_parts([list(PART)]) == (PART,)
    assert as_drawn([["d", "a.jsonl", [0, 4]]]) == (DRAWN,)
    assert as_parts([PART]) == (PART,)
    assert as_drawn([DRAWN]) == (DRAWN,)


@pytest.mark.parametrize("value", [None, 1, "x", {}, [1], [[]], [[1, 2, 3]], [[1, 2, 3, 4, 5]], [["d", "a", 7]]])
def test_any_other_shape_is_left_out(value: Any) -> None:
    assert not as_parts(value)
    assert not as_drawn(value)


def test_names_lead_nowhere_and_rows_are_numbers() -> None:
    assert as_parts([["d", "../x", -1, True, 7]]) == (Part("d", "x", 0, 0, None),)
    assert as_drawn([["d", "/etc/passwd", [1, -1, "2", True, 3.5]]]) == (Drawn("d", "passwd", (1,)),)


def test_the_digest_of_several_files_is_that_of_their_digests_in_order() -> None:
    assert digest_of_parts(["a", "b"]) == digest_of_parts(iter(["a", "b"]))
    assert digest_of_parts(["a", "b"]) != digest_of_parts(["b", "a"])
