"""A checkpoint that came by ``snapshot_download(local_dir=...)``: the client leaves its own notes beside the files."""

from pathlib import Path

import pytest

from audit.api import verify
from audit.options import Options
from audit.testing.runs import make_run


@pytest.fixture
def downloaded(tmp_path: Path) -> str:
    """A run whose checkpoints have what huggingface_hub 2.4 leaves (``_local_folder.py``)."""
    run = make_run(tmp_path / "run")
    for home in Path(run).glob("checkpoint-*"):
        notes = home / ".cache" / "huggingface"
        (notes / "download").mkdir(parents=True)
        (notes / "trees").mkdir()
        for file in list(home.iterdir()):
            if file.is_file():
                (notes / "download" / f"{file.name}.metadata").write_text("0123abcd\n4567ef\n1764180000.5\n")
                (notes / "download" / f"{file.name}.lock").write_text("")
        (notes / "download" / "AbC=.4567ef.incomplete").write_bytes(b"half")
        (notes / "trees" / "0123abcd.json").write_text('[{"path": "optimizer.pt", "size": 1234}]')
        (notes / ".gitignore").write_text("*")
        (notes / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n")
        (home / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    return run


@pytest.mark.parametrize("depth", ["quick", "full"])
def test_the_notes_of_the_client_are_taken_for_nothing_else(downloaded: str, depth: str) -> None:
    report = verify(downloaded, Options(settle_seconds=0, depth=depth))

    assert report.findings == ()
    assert report.resume_from == "checkpoint-300"
