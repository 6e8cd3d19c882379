"""``audit merge``: what it says, how it ends, and what a kill leaves."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.cli import progress
from tests.audit.cli.conftest import Ended, command, one_line
from tests.audit.cli.test_documents import document
from tests.audit.merging.models import make_base, make_merge, tensors_in

Audit = Callable[..., Ended]
Paths = tuple[str, str]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A run of one checkpoint, and its base."""
    return make_merge(tmp_path)


def test_a_merge_says_what_was_proven(audit: Audit, paths: Paths, tmp_path: Path) -> None:
    run, base = paths
    out = str(tmp_path / "out")

    first, second = audit("merge", run, out, "--base", base), audit("merge", run, out, "--base", base)

    assert (first.code, first.out.splitlines()) == (
        0,
        [
            f"merged  checkpoint-100 into {out}  ({_size(out)}, proven)",
            "  tensors  4 merged, 8 the base's byte for byte",
            "  proof    every byte read again; 28 rows computed again in float64; merge.json",
            f"  base     {base}: not compared: the ledger does not record it",
        ],
    )
    assert first.err.startswith("note: nothing in the ledger says which base the adapter was trained on")
    assert second == Ended(
        1, "", f"audit merge: {out}: already exists, and nothing is overwritten; give another OUT, or move it away\n"
    )
    third = audit("merge", run, f"{out}2", "--base", base, "--checkpoint", "checkpoint-100")
    assert (third.code, third.err) == (0, "")
    assert "its files are those that the ledger records" in third.out


def _size(out: str) -> str:
    total = sum(path.stat().st_size for path in Path(out).iterdir() if path.name != "merge.json")
    return f"{total / 1000:.1f} kB"


def test_quiet_says_nothing_but_what_to_know(audit: Audit, paths: Paths, tmp_path: Path) -> None:
    ended = audit("merge", paths[0], str(tmp_path / "out"), "--base", paths[1], "-q")
    assert (ended.code, ended.out) == (0, "")


def test_the_document_is_the_proof_and_a_refusal_has_one_too(audit: Audit, paths: Paths, tmp_path: Path) -> None:
    run, base = paths
    out = str(tmp_path / "out")

    found = document(audit, 0, "merge", run, out, "--base", base)

    assert found["path"] == out
    assert {**found, "notes": []} == {**json.loads(Path(out, "merge.json").read_text()), "notes": []}
    refused = document(audit, 1, "merge", run, out, "--base", base)
    assert "already exists" in refused["refusal"]
    assert (refused["merge"], refused["path"]) == (None, None)


def test_options_reach_the_merge(audit: Audit, paths: Paths, tmp_path: Path) -> None:
    run, base = paths
    options = ("--dtype", "bfloat16", "--max-shard-size", "2kB")
    assert audit("merge", run, str(tmp_path / "out"), "--base", base, *options).code == 0
    assert {item.dtype for item in tensors_in(str(tmp_path / "out")).values()} == {"BF16"}
    assert (tmp_path / "out" / "model.safetensors.index.json").exists()
    assert "nothing to untie" in audit("merge", run, str(tmp_path / "x"), "--base", base, "--untie").err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--checkpoint", "last"), "'last' is not a step like 300"),
        (("--max-shard-size", "5 apples"), "'5 apples' is not a size above 0, such as 5GB"),
        (("--max-shard-size", "0"), "is not a size"),
        (("--dtype", "float64"), "invalid choice: 'float64'"),
        (("--base", "nowhere"), "--base nowhere: is not the directory"),
        ((), "names the base base/tiny, which is not in the cache of the Hub; give it with --base DIR"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: tuple[str, ...],
    said: str,
    audit: Audit,
    paths: Paths,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "no cache"))
    assert said in one_line(audit("merge", paths[0], str(tmp_path / "out"), *arguments))
    assert sorted(os.listdir(tmp_path)) == ["base", "cwd", "run"]


def test_a_bar_on_a_terminal_for_the_run_and_then_for_the_merge(
    audit: Audit, paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "WORTH_A_BAR", 0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")

    ended = audit("merge", paths[0], str(tmp_path / "out"), "--base", paths[1])

    assert (ended.code, ended.out.startswith("merged  checkpoint-100")) == (0, True)
    assert "reading" in ended.err
    assert "merging" in ended.err


def test_what_is_not_proven_is_refused(audit: Audit, paths: Paths, tmp_path: Path) -> None:
    run, base = paths
    Path(run, "checkpoint-100", "scheduler.pt").unlink()
    ended = audit("merge", run, str(tmp_path / "out"), "--base", base)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith(
        f"audit merge: {run}: no checkpoint is proven; checkpoint-100: scheduler.pt is not there"
    )
    assert ended.err.endswith(f" (files/missing-scheduler); see audit verify {run}\n")


def test_the_base_is_sealed_with_the_run(audit: Audit, paths: Paths, tmp_path: Path) -> None:
    run, base = paths
    sealed = audit("seal", run, "--base", base)
    assert (sealed.code, sealed.out.splitlines()[-1]) == (0, f"base        {base}  (digests of 1 files recorded)")
    other = make_base(tmp_path / "other", shards=2)
    ended = audit("merge", run, str(tmp_path / "out"), "--base", other)
    assert ended.code == 1
    assert ended.err.endswith(f"if this is the right base, record it: audit seal {run} --base {other}\n")
    assert document(audit, 0, "seal", run, "--base", other)["base"]["path"] == other
    assert audit("merge", run, str(tmp_path / "out"), "--base", other).code == 0
    assert "give one of them" in one_line(audit("seal", run, "--base", base, "--verify-key", "public.pem"))
    nowhere = audit("seal", run, "--base", "nowhere")
    assert (nowhere.code, nowhere.err) == (
        2,
        "audit seal: --base nowhere: is not the directory of a model, nor a name in the cache of the Hub\n",
    )


@pytest.mark.slow
def test_killed_at_random_there_is_no_out_and_the_next_call_succeeds(paths: Paths, tmp_path: Path) -> None:
    """Each round is killed a little later than the one before, until one is done; then what is there is whole."""
    run, base = paths
    out = tmp_path / "out"
    arguments = command(["merge", run, str(out), "--base", base])
    chance = random.Random(0)
    killed, left = 0, 0
    began = time.monotonic()
    subprocess.run(command(["merge", run, str(tmp_path / "whole"), "--base", base]), check=True)
    whole = time.monotonic() - began
    for _ in range(40):
        process = subprocess.Popen(arguments)
        time.sleep(chance.uniform(0.2, 1.1) * whole)
        process.send_signal(signal.SIGKILL)
        if process.wait() == -signal.SIGKILL:
            killed += 1
            left += os.path.lexists(f"{out}.tmp")
        if out.exists():  # renamed, so it was proven
            assert tensors_in(str(out)) == tensors_in(str(tmp_path / "whole"))
            assert (out / "merge.json").exists()
            for path in out.iterdir():
                path.unlink()
            out.rmdir()
    assert killed > 3
    assert left

    ended = subprocess.run(arguments, capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert tensors_in(str(out)) == tensors_in(str(tmp_path / "whole"))
    assert not os.path.lexists(f"{out}.tmp")
