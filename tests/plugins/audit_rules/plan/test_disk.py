"""plan/disk: what is to come fits."""

from tests.plugins.audit_rules.plan.conftest import Planned, space


def test_more_bytes_than_are_free_are_an_error(plan: Planned) -> None:
    (finding,) = plan(None, space=space(5_000_000_000, 3_000_000_000))
    assert "need 5.0 GB, and 3.0 GB are free: 9 will be saved, of 100 B each" in finding.message
    assert (finding.expected, finding.actual) == (5_000_000_000, 3_000_000_000)


def test_a_file_system_without_inodes_is_an_error(plan: Planned) -> None:
    (finding,) = plan(None, space=space(1, 100, inodes=50, room=20))
    assert "need 50 files and directories, and the file system has room for 20" in finding.message


def test_what_fits_is_fine(plan: Planned) -> None:
    assert not plan(None, space=space(1000, 1100))
    assert not plan(None, space=space(1000, 1100, room=None))


def test_something_is_left_for_the_ledger(plan: Planned) -> None:
    assert plan(None, space=space(1000, 1010))
    assert not plan(None, space=space(1000, 1010), spare=0.0)
    assert plan(None, space=space(1, 100, inodes=50, room=50))
    assert not plan(None, space=space(1, 100, inodes=50, room=50), spare=0.0)


def test_an_unknown_size_is_not_judged(plan: Planned) -> None:
    assert not plan(None)
    assert "not known" in plan.reason
