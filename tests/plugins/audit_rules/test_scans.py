"""A file counts as read if a scan came to its end."""

from audit.scan import FileScan
from audit_rules._scans import was_read

WHOLE = FileScan("0" * 64, 9, 9, {}, None)


def test_what_was_not_scanned_or_not_to_its_end_was_not_read() -> None:
    scan = {"whole": WHOLE, "torn": WHOLE._replace(error="cannot be read")}

    assert was_read(scan, "whole")
    assert not was_read(scan, "torn")
    assert not was_read(scan, "another")
    assert not was_read({}, "whole")
