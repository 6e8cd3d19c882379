"""Which files are data, and by what each is known."""

import os
import socket
from pathlib import Path

import pytest

from audit.errors import AuditError
from audit.training.config import Data
from audit.training.data_files import InboxGone, digest_of, ignored, trained, unchanged, waiting
from audit.training.inbox import retire
from tests.audit.training.places import names, places, put


def test_files_come_in_the_order_of_their_names(data: Data) -> None:
    for name in ("b.jsonl", "a10.jsonl", "a2.jsonl", "Z.parquet"):
        put(data, name)
    assert [file.name for file in waiting(data)] == ["Z.parquet", "a10.jsonl", "a2.jsonl", "b.jsonl"]


@pytest.mark.parametrize(
    "name",
    [".a.jsonl", "_a.jsonl", ".held-01.jsonl", "a.txt", "a.JSONL", "jsonl"]
    + [f"a.jsonl{end}" for end in (".part", ".tmp", "~", ".crdownload", ".swp", ".partial")],
)
def test_what_is_hidden_unfinished_or_of_another_kind_is_left_alone(name: str, data: Data) -> None:
    put(data, name)
    assert waiting(data) == ()


def test_patterns_say_what_is_data(data: Data) -> None:
    put(data, "a.txt")
    put(data, "b.txt.part")
    assert [file.name for file in waiting(data._replace(patterns=("*",)))] == ["a.txt"]


def test_what_is_no_file_is_left_alone(data: Data) -> None:
    home = Path(data.inbox)
    (home / "directory.jsonl").mkdir()
    os.mkfifo(home / "fifo.jsonl")
    (home / "dangling.jsonl").symlink_to(home / "nowhere")
    with socket.socket(socket.AF_UNIX) as stream:
        here = os.getcwd()
        os.chdir(home)  # the name of a socket may not be long
        stream.bind("socket.jsonl")
        os.chdir(here)
        assert waiting(data) == ()


def test_a_name_that_is_no_text_is_a_name_all_the_same(data: Data) -> None:
    name = os.fsdecode(b"caf\xe9.jsonl")
    put(data, name)
    (file,) = waiting(data)
    to = retire(file, data)
    assert to == os.path.join(data.done, name)
    assert names(data.done) == [name]


def test_an_inbox_that_is_gone_is_said_to_be_and_a_done_that_never_was_is_empty(tmp_path: Path) -> None:
    with pytest.raises(InboxGone, match=r"data\.inbox: .* does not exist; make the directory, or correct the path"):
        waiting(places(tmp_path))
    assert trained(places(tmp_path)) == ()


def test_an_inbox_that_is_no_directory_is_an_error_and_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "inbox").write_text("a file")
    with pytest.raises(AuditError, match="inbox: cannot be listed: Not a directory") as caught:
        waiting(places(tmp_path))
    assert not isinstance(caught.value, InboxGone)


def test_a_file_that_was_replaced_changed_even_with_the_same_size_and_time(data: Data) -> None:
    file = put(data, "a.jsonl", "one")
    os.utime(file.path, ns=(file.stamp[1], file.stamp[1]))
    assert unchanged(file)
    other = Path(data.inbox, "b")
    other.write_text("two")
    os.utime(other, ns=(file.stamp[1], file.stamp[1]))
    other.rename(file.path)
    assert not unchanged(file)


def test_the_digest_is_of_the_bytes(data: Data) -> None:
    first, second, other = put(data, "a.jsonl", "x" * 5_000_000), put(data, "b.jsonl", "x" * 5_000_000), put(data, "c")
    assert digest_of(first) == digest_of(second) != digest_of(other)
    os.unlink(first.path)
    with pytest.raises(AuditError, match=r"a\.jsonl: cannot be read: No such file or directory"):
        digest_of(first)


def test_what_is_ignored_has_its_reason(data: Data) -> None:
    inbox = Path(data.inbox)
    inbox.mkdir(exist_ok=True)
    for name in ("a.jsonl", ".hidden", "_b.jsonl", "c.jsonl.part", "D.JSONL", "e.csv"):
        (inbox / name).write_text("")
    (inbox / "f.jsonl").mkdir()
    (inbox / "g.jsonl").symlink_to("nowhere")
    os.mkfifo(inbox / "h.jsonl")

    assert dict(ignored(data._replace(patterns=("*.jsonl", "*.json")))) == {
        "_b.jsonl": "names that begin with _ are skipped",
        "c.jsonl.part": "the name is that of an incomplete file; rename it once it is whole",
        "D.JSONL": "capitals count in data.pattern; rename it to d.jsonl",
        "e.csv": "it does not match data.pattern (*.jsonl, *.json)",
        "f.jsonl": "it is a directory; put the files themselves into the inbox",
        "g.jsonl": "it is a link that leads nowhere",
        "h.jsonl": "it is neither a file nor a directory",
    }
    assert "c.jsonl.part" not in dict(ignored(data, settle_seconds=60.0))
    assert ignored(data._replace(inbox=f"{data.inbox}/nowhere")) == ()
