"""``audit seal``: digests now, and files that stock tools check."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from audit.testing.runs import make_run
from tests.audit.cli.conftest import Ended, one_line
from tests.audit.seals import WEIGHTS, flip

Audit = Callable[..., Ended]
STEPS = (100, 200, 300)


def seal_file(run: str, step: int, suffix: str) -> Path:
    return Path(run, ".audit", "seals", f"checkpoint-{step}.{suffix}")


def unescaped(line: bytes) -> tuple[str, bytes]:
    """Digest and path of a line, read as coreutils and b3sum read it."""
    escaped = line.startswith(b"\\")
    digest, _, path = line.lstrip(b"\\").partition(b"  ")
    if escaped:
        path = path.replace(b"\\\\", b"\0").replace(b"\\n", b"\n").replace(b"\\r", b"\r").replace(b"\0", b"\\")
    return digest.decode(), path


def check_blake3(run: str, step: int) -> set[bytes]:
    """Compare every line with the file's digest; return the paths."""
    paths = set()
    for line in seal_file(run, step, "b3").read_bytes().splitlines():
        digest, path = unescaped(line)
        assert blake3(Path(os.fsdecode(os.path.join(os.fsencode(run), path))).read_bytes()).hexdigest() == digest
        paths.add(path)
    return paths


def test_every_file_of_every_sound_checkpoint_is_in_the_file_that_b3sum_reads(audit: Audit, run: str) -> None:
    ended = audit("seal", run)

    assert ended.code == 0
    assert ended.out.count("sealed ") == 3
    for step in STEPS:
        home = f"{run}/checkpoint-{step}"
        assert check_blake3(run, step) == {f"checkpoint-{step}/{name}".encode() for name in os.listdir(home)}


def test_where_nothing_was_trained_there_is_nothing_to_seal(audit: Audit, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert one_line(audit("seal", str(tmp_path / "empty"))).endswith("empty: no checkpoint-N directory in it\n")


def test_a_selection_of_rules_in_the_configuration_proves_nothing_so_all_of_them_judge(
    audit: Audit, broken: str
) -> None:
    Path("audit.toml").write_text('select = ["steps"]\n')
    ended = audit("seal", broken, "-q")
    assert (ended.code, [line.split()[:3] for line in ended.out.splitlines()]) == (
        1,
        [["not", "sealed", "checkpoint-300:"]],
    )


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not installed")
def test_sha256sum_accepts_its_file_also_with_odd_names_and_finds_a_flipped_bit(audit: Audit, run: str) -> None:
    for name in (b"line\nfeed", b"back\\slash", b"return\r", b"bytes\xff", "ümlaut".encode(), b" blank ", b"*star"):
        Path(run, "checkpoint-300", os.fsdecode(name)).write_bytes(name)
    assert audit("seal", run, "--algorithm", "sha256").code == 0

    def check() -> int:
        file = seal_file(run, 300, "sha256").relative_to(run)
        command = ["sha256sum", "--check", "--strict", "--quiet", str(file)]
        return subprocess.run(command, cwd=run, capture_output=True, check=False).returncode

    assert len(seal_file(run, 300, "sha256").read_bytes().splitlines()) == 15
    assert check() == 0
    flip(f"{run}/checkpoint-300/{WEIGHTS}")
    assert check() == 1


def test_odd_names_stand_escaped_in_the_file_of_b3sum(audit: Audit, run: str) -> None:
    for name in (b"line\nfeed", b"back\\slash", b"return\r"):
        Path(run, "checkpoint-300", os.fsdecode(name)).write_bytes(name)
    assert audit("seal", run).code == 0

    assert {b"checkpoint-300/line\nfeed", b"checkpoint-300/back\\slash", b"checkpoint-300/return\r"} < check_blake3(
        run, 300
    )


def test_a_broken_checkpoint_is_not_sealed_and_the_others_are(audit: Audit, broken: str) -> None:
    ended = audit("seal", broken)

    assert ended.code == 1
    assert "not sealed  checkpoint-300" in ended.out
    assert sorted(os.listdir(f"{broken}/.audit/seals")) == ["checkpoint-100.b3", "checkpoint-200.b3"]


def test_sealing_twice_changes_nothing_and_a_broken_seal_is_not_sealed_over(audit: Audit, run: str) -> None:
    audit("seal", run)
    before = seal_file(run, 300, "b3").read_bytes()
    assert audit("seal", run).code == 0
    assert seal_file(run, 300, "b3").read_bytes() == before

    flip(f"{run}/checkpoint-300/{WEIGHTS}", keep_times=False)
    assert audit("seal", run).code == 1
    assert seal_file(run, 300, "b3").read_bytes() == before


def test_nothing_inside_a_checkpoint_changes(audit: Audit, run: str) -> None:
    def times() -> dict[str, tuple[int, int]]:
        homes = [Path(run, f"checkpoint-{step}") for step in STEPS]
        return {
            str(path): (os.stat(path).st_mtime_ns, os.stat(path).st_ctime_ns)
            for home in homes
            for path in (home, *home.iterdir())
        }

    before = times()
    assert audit("seal", run, "--algorithm", "sha256").code == 0
    assert times() == before


def test_where_the_ledger_cannot_be_used_nothing_is_sealed(audit: Audit, run: str) -> None:
    Path(run, ".audit").write_text("in the way")

    assert "nothing can be sealed: " in one_line(audit("seal", run))


def test_a_read_only_run_is_exit_2(audit: Audit, tmp_path: Path) -> None:
    place = tmp_path / "mounted"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount here")
    try:
        run = make_run(place / "run")
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        assert "cannot be written" in one_line(audit("seal", run))
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_link_in_place_of_the_seals_is_not_followed(audit: Audit, run: str, tmp_path: Path) -> None:
    audit("verify", run)
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", f"{run}/.audit/seals")

    ended = audit("seal", run)

    assert ended.code == 2
    assert "link" in ended.err
    assert os.listdir(tmp_path / "elsewhere") == []
