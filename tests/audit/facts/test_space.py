"""What checkpoints to come need at the worst moment. One has 10 bytes and 2 inodes."""

from pathlib import Path

import pytest

from audit.backend.training import Size
from audit.facts.space import free_at, peak

ONE = Size(10, 2)


@pytest.mark.parametrize(
    ("legs", "there", "limit", "checkpoints"),
    [
        ([9], 0, None, 9),
        ([9, 4], 0, None, 13),
        ([9], 0, 3, 4),  # one more than the limit, until rotation
        ([1], 0, 3, 1),
        ([9], 3, 3, 2),  # one until rotation, and the one that the leg began with stays pinned
        ([1], 3, 3, 1),
        ([9, 9], 0, 3, 5),  # the second leg holds what it began with
        ([9], 1, 1, 2),
        ([0], 2, 1, 0),
        ([], 2, 1, 0),
    ],
)
def test_the_peak_counts_what_rotation_has_not_yet_deleted(
    legs: list[int], there: int, limit: int | None, checkpoints: int
) -> None:
    found = peak(legs, [ONE] * there, ONE, limit)

    assert found == Size(10 * checkpoints, 2 * checkpoints)


def test_the_best_checkpoint_is_kept_beside_the_newest() -> None:
    assert peak([9], [], ONE, 1, best=True) == Size(30, 6)
    assert peak([9], [], ONE, 1, best=False) == Size(20, 4)


def test_larger_checkpoints_of_before_make_room_for_the_new_ones() -> None:
    assert peak([9], [Size(100, 2), Size(100, 2)], ONE, 2).bytes == 10


def test_what_is_free_is_asked_of_the_nearest_directory_that_is_there(tmp_path: Path) -> None:
    free = free_at(str(tmp_path / "not" / "there" / "yet"))

    assert free.bytes > 0
    assert free.inodes is None or free.inodes > 0


def test_a_million_million_saves_are_counted_at_once() -> None:
    one = Size(10, 2)
    assert peak([10**12, 3], [one], one, None) == Size(10 * (10**12 + 3), 2 * (10**12 + 3))
    assert peak([10**12, 10**12], [one] * 5, one, 2) == peak([20, 20], [one] * 5, one, 2)
