"""One file of a checkpoint: its format by name, its contents read once, errors as values."""

from pathlib import Path

import pytest

from audit.errors import NotApplicable
from audit.facts.file import TEXT_LIMIT, File, FileFormat
from audit.formats.damage import Damage, Kind
from audit.formats.pickles import Pickle
from audit.formats.torch_archive import TorchArchive
from audit.storage import ContextReader, Entry, LocalStorage
from audit.testing.torch_files import pickle_bytes, torch_archive_bytes


class Counting(LocalStorage):
    """A storage that counts how often it is asked to open a file."""

    opened = 0

    def open(self, path: str) -> ContextReader:
        self.opened += 1
        return super().open(path)


def made(root: Path, name: str, data: bytes) -> File:
    (root / name).write_bytes(data)
    storage = Counting(str(root))
    return File(storage, name, next(entry for entry in storage.list("") if entry.name == name))


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.json", FileFormat.JSON),
        ("A.JSON", FileFormat.JSON),
        ("model.safetensors", FileFormat.SAFETENSORS),
        ("optimizer.pt", FileFormat.TORCH),
        ("rng_state_0.pth", FileFormat.TORCH),
        ("training_args.bin", FileFormat.TORCH),
        ("pytorch_model_fsdp_0/.metadata", FileFormat.PICKLE),
        (".cache/huggingface/download/optimizer.pt.metadata", FileFormat.OTHER),
        (".cache/huggingface/download/optimizer.pt.lock", FileFormat.OTHER),
        (".gitattributes", FileFormat.OTHER),
        ("x.pkl", FileFormat.PICKLE),
        ("latest", FileFormat.OTHER),
        ("README.md", FileFormat.OTHER),
        ("optimizer.pt.part_aa", FileFormat.OTHER),
        ("", FileFormat.OTHER),
    ],
)
def test_the_format_follows_from_the_name(name: str, form: str) -> None:
    assert File(LocalStorage("/"), name, Entry(name, "file", 0, 0, 0, 0)).format == form


def test_contents_are_read_by_format_and_once(tmp_path: Path) -> None:
    file = made(tmp_path, "a.json", b'{"a": 1}')
    assert (file.content, file.value, file.content) == ({"a": 1}, {"a": 1}, {"a": 1})
    assert file._storage.opened == 1  # type: ignore[attr-defined]
    assert isinstance(made(tmp_path, "a.pt", torch_archive_bytes({"x": 1})).archive, TorchArchive)


def test_a_bare_pickle_may_be_an_archive_by_another_name(tmp_path: Path) -> None:
    assert isinstance(made(tmp_path, "a.pkl", pickle_bytes({"x": 1})).content, Pickle)
    assert isinstance(made(tmp_path, "b.pkl", torch_archive_bytes({"x": 1})).content, TorchArchive)


def test_a_file_of_no_format_has_no_contents(tmp_path: Path) -> None:
    assert made(tmp_path, "vocab.txt", b"a b c").content is None


def test_damage_is_a_value_and_what_needs_the_value_is_not_applicable(tmp_path: Path) -> None:
    file = made(tmp_path, "a.json", b"{")
    assert isinstance(file.content, Damage)
    assert file.content.kind is Kind.MALFORMED
    with pytest.raises(NotApplicable, match=r"a\.json "):
        _ = file.value


def test_a_file_that_vanished_or_became_something_else_is_unreadable(tmp_path: Path) -> None:
    gone = made(tmp_path, "gone.json", b"{}")
    (tmp_path / "gone.json").unlink()
    assert gone.content == Damage(Kind.UNREADABLE, "cannot be read: No such file or directory")
    swapped = made(tmp_path, "swapped.json", b"{}")
    (tmp_path / "swapped.json").unlink()
    (tmp_path / "swapped.json").mkdir()
    assert isinstance(swapped.content, Damage)
    assert swapped.content.kind is Kind.UNREADABLE


@pytest.mark.parametrize(("kind", "escapes"), [("link", False), ("link", True), ("special", False), ("file", True)])
def test_what_is_no_regular_file_of_the_checkpoint_is_never_opened(kind: str, escapes: bool) -> None:
    storage = Counting("/")
    file = File(storage, "a.json", Entry("etc/passwd", kind, 1, 0, 0, 0, None, escapes))
    assert not file.readable
    with pytest.raises(NotApplicable, match="is not a regular file of this checkpoint"):
        _ = file.content
    assert storage.opened == 0


@pytest.mark.parametrize("name", ["README.md", "a.json", "latest", ".env", "b.YAML"])
def test_text_is_read_by_its_ending_or_by_having_none(tmp_path: Path, name: str) -> None:
    assert made(tmp_path, name, b"some text").text == b"some text"


def test_what_is_no_text_or_too_long_is_not_looked_through(tmp_path: Path) -> None:
    with pytest.raises(NotApplicable, match="is not a text file"):
        _ = made(tmp_path, "a.bin", b"x").text
    with pytest.raises(NotApplicable, match="too long"):
        _ = made(tmp_path, "a.txt", bytes(TEXT_LIMIT + 1)).text
    assert len(made(tmp_path, "a.txt", b"x" * TEXT_LIMIT).text) == TEXT_LIMIT
    with pytest.raises(NotApplicable, match="is empty"):
        _ = made(tmp_path, "b.txt", b"").text


@pytest.mark.parametrize(
    ("name", "original"),
    [
        ("optimizer.pt.REMOVED.git-id", "optimizer.pt"),
        ("sub/model.safetensors.part_aa", "sub/model.safetensors"),
        ("model.safetensors.part_ab", None),
        ("optimizer.pt", None),
    ],
)
def test_a_placeholder_is_known_by_its_name(name: str, original: str | None) -> None:
    assert File(LocalStorage("/"), name, Entry(name, "file", 0, 0, 0, 0)).stands_in_for == original
