"""A run behind a URL is judged as it is on a disk, read sparingly, and never called broken because of its storage."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.api import verify
from audit.cli import run as command
from audit.errors import AuditError, UnreachableError
from audit.findings import Severity
from audit.options import Options
from audit.report import Report
from audit.testing.runs import edit_state, make_run
from audit_remote import buckets
from tests.plugins.audit_remote.conftest import files_of
from tests.plugins.audit_remote.server import Bucket

pytest.importorskip("obstore", reason="the extra remote is not installed")

URL = "s3://b/team/run"


def stored(bucket: Bucket, run: str | Path) -> None:
    bucket.objects.clear()
    bucket.put("team/run", files_of(run))


def findings(report: Report) -> set[tuple[str, str | None, str | None, str]]:
    return {(item.rule, item.checkpoint, item.file, item.message) for item in report.findings}


def cut_weights(run: Path) -> None:
    path = run / "checkpoint-10" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(run: Path) -> None:
    path = run / "checkpoint-10" / "optimizer.pt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def lose_the_optimizer(run: Path) -> None:
    (run / "checkpoint-10" / "optimizer.pt").unlink()


def lose_the_state(run: Path) -> None:
    (run / "checkpoint-10" / "trainer_state.json").unlink()


def change_the_step(run: Path) -> None:
    edit_state(run / "checkpoint-10", global_step=7)


def nothing(run: Path) -> None:
    pass


@pytest.mark.parametrize("depth", ["quick", "full"])
@pytest.mark.parametrize(
    "damage", [nothing, cut_weights, flip_a_bit, lose_the_optimizer, lose_the_state, change_the_step]
)
def test_the_verdict_is_that_of_the_disk(
    bucket: Bucket, tmp_path: Path, damage: Callable[[Path], None], depth: str
) -> None:
    run = tmp_path / "run"
    make_run(run, (5, 10))
    damage(run)
    stored(bucket, run)
    options = Options(depth=depth, ledger=False, settle_seconds=0)

    here, there = verify(run, options), verify(URL, options)

    assert findings(there) == findings(here)
    assert (there.verdict, there.resume_from) == (here.verdict, here.resume_from)


def test_small_files_are_fetched_once_and_a_quick_look_at_a_large_checkpoint_is_a_few_requests(
    bucket: Bucket, tmp_path: Path
) -> None:
    stored(bucket, make_run(tmp_path / "run", (5,), full=True, layers=40, rank=8))
    sizes = {key: len(data) for key, data in bucket.objects.items()}

    report = verify(URL, Options(depth="quick", ledger=False))

    assert report.verdict == "sound"
    assert len(bucket.asked) <= 16
    for key, size in sizes.items():
        asked = [sent for path, sent in bucket.asked if path == key]
        assert len(asked) == 1 if size <= 256 << 10 else len(asked) <= 4


def test_every_byte_is_read_once_at_full_depth(bucket: Bucket, tmp_path: Path) -> None:
    stored(bucket, make_run(tmp_path / "run", (5, 10), full=True, layers=8))

    report = verify(URL, Options(ledger=False))

    assert report.verdict == "sound"
    whole = sum(map(len, bucket.objects.values()))
    assert whole <= sum(sent for _, sent in bucket.asked) <= whole + 64_000  # headers of records, once more
    assert report.bytes_read == sum(sent for _, sent in bucket.asked)


def test_what_was_proven_is_not_read_again_until_it_is_replaced(bucket: Bucket, tmp_path: Path) -> None:
    run = tmp_path / "run"
    stored(bucket, make_run(run, (5, 10)))
    assert all(item.sealed for item in verify(URL).checkpoints)
    assert verify(URL).verdict == "sound"  # judged once more, now with seals
    bucket.asked.clear()

    assert verify(URL).verdict == "sound"
    assert bucket.of_objects() == []
    assert not (run / ".audit").exists()

    weights = run / "checkpoint-10" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x3d")
    stored(bucket, run)
    assert "integrity/seal-broken" in {item.rule for item in verify(URL).findings}


def test_an_upload_that_goes_on_is_in_progress_and_one_that_ended_is_judged(bucket: Bucket, tmp_path: Path) -> None:
    import time

    stored(bucket, make_run(tmp_path / "run", (5, 10)))
    bucket.modified = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
    assert verify(URL, Options(ledger=False)).resume_from == "checkpoint-10"

    del bucket.objects["team/run/checkpoint-10/optimizer.pt"]
    report = verify(URL, Options(ledger=False))
    assert (report.verdict, report.resume_from) == ("sound", "checkpoint-5")

    bucket.modified = "2026-01-02T03:04:05.000Z"
    assert verify(URL, Options(ledger=False)).verdict == "broken"


@pytest.mark.parametrize("heeds", [True, False], ids=["if-match", "no if-match"])
def test_what_is_replaced_while_it_is_read_is_read_again(bucket: Bucket, tmp_path: Path, heeds: bool) -> None:
    stored(bucket, make_run(tmp_path / "run", (5, 10)))
    newer = files_of(make_run(tmp_path / "newer", (5, 10), seed=1))
    bucket.heeds_if_match = heeds
    once = threading.Lock()

    def replace(key: str) -> None:
        if once.acquire(blocking=False):
            bucket.put("team/run", newer)

    bucket.before = replace
    report = verify(URL, Options(ledger=False))

    assert report.verdict == "sound"
    assert report.resume_from == "checkpoint-10"


def test_what_changes_at_every_look_is_in_progress_and_never_broken(bucket: Bucket, tmp_path: Path) -> None:
    stored(bucket, make_run(tmp_path / "run", (5, 10)))
    key = "team/run/checkpoint-10/training_args.bin"
    state = json.loads(bucket.objects["team/run/checkpoint-10/trainer_state.json"])
    key = "team/run/checkpoint-10/trainer_state.json"
    number = iter(range(1000))

    def rewrite(asked: str) -> None:
        if asked == key:
            bucket.objects[key] = json.dumps({**state, "n": next(number)}).encode()

    bucket.before = rewrite
    report = verify(URL, Options(ledger=False))

    assert report.verdict == "sound"
    assert report.resume_from == "checkpoint-5"
    assert {(item.rule, item.severity) for item in report.findings} == {("files/incomplete-checkpoint", Severity.INFO)}


def test_what_is_listed_and_never_there_is_unreadable(bucket: Bucket, tmp_path: Path) -> None:
    """One that was deleted after the listing is in the first listing only."""
    stored(bucket, make_run(tmp_path / "run", (5, 10)))
    bucket.fault = lambda key, count: 404 if key.endswith("checkpoint-10/optimizer.pt") else None

    report = verify(URL, Options(ledger=False))

    assert [(item.rule, item.file) for item in report.findings] == [("files/unreadable", "optimizer.pt")]
    assert "is listed, and the store does not give it" in report.findings[0].message
    assert report.resume_from == "checkpoint-5"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_ENDPOINT_URL", "localhost:9000"),
        ("AWS_ENDPOINT_URL", ""),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:99999"),
        ("AWS_SESSION_TOKEN", "s3cret\n"),
    ],
)
def test_a_slip_in_the_environment_is_one_line(
    bucket: Bucket, name: str, value: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """obstore 0.12 ends in a panic of Rust, which no ``except Exception`` catches."""
    monkeypatch.setenv(name, value)
    assert command(["verify", URL]) == 2
    said = capfd.readouterr().err
    assert said.startswith(f"audit verify: {name}: ")
    assert said.count("\n") == 1
    assert "s3cret" not in said


def test_nothing_is_written_to_a_url(bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored(bucket, make_run(tmp_path / "run", (5,)))
    for words in (["guard", URL, "--fetch", "s3://team/there"], ["verify", URL, "-o", "s3://team/report"]):
        assert command(words) == 2
        assert "is a URL; name a" in capsys.readouterr().err


@pytest.mark.parametrize("fault", [503, 500, "cut"])
def test_a_storage_that_fails_twice_is_asked_again(bucket: Bucket, tmp_path: Path, fault: int | str) -> None:
    stored(bucket, make_run(tmp_path / "run", (5,)))
    bucket.fault = lambda key, count: fault if count <= 2 and not key.endswith((".json", ".md")) else None

    assert verify(URL, Options(ledger=False)).verdict == "sound"


@pytest.mark.parametrize(
    ("where", "fault", "said"),
    [
        ("", 403, "permission denied"),
        ("", 503, "the server fails or is overloaded (status 503, SlowDown)"),
        ("optimizer.pt", 403, "permission denied"),
        ("optimizer.pt", 503, "the server fails or is overloaded (status 503, SlowDown)"),
        ("optimizer.pt", "cut", "the connection was cut"),
    ],
)
def test_a_run_that_cannot_be_read_is_not_broken(
    bucket: Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    where: str,
    fault: int | str,
    said: str,
) -> None:
    monkeypatch.setattr(buckets, "RETRIES", 1)
    stored(bucket, make_run(tmp_path / "run", (5,)))
    bucket.fault = lambda key, count: fault if (key.endswith(where) if where else not key) else None
    assert command(["verify", URL]) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert said in err
    assert "nothing is said of the run" in err
    for secret in ("s3cret", "AKTEST", "127.0.0.1", "Signature"):
        assert secret not in err


def test_a_bucket_that_is_not_there_is_said(bucket: Bucket) -> None:
    with pytest.raises(UnreachableError, match="s3://other/run: cannot be read: there is no such bucket"):
        verify("s3://other/run")


def test_nothing_below_a_prefix_is_no_run(bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AuditError, match="no such run: nothing is stored there"):
        verify(URL)
    assert command(["guard", URL, "--allow-missing"]) == 0
    assert "start fresh" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [["prune", URL, "--keep", "1"], ["quarantine", URL], ["snapshot", URL, "x"], ["history", URL], ["watch", URL]],
    ids=lambda words: words[0],
)
def test_what_needs_a_disk_says_so_in_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command(words) == 2

    assert capsys.readouterr().err.count("\n") == 1


def test_every_command_for_people_takes_a_url(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", (5, 10), best=True)
    stored(bucket, run)
    monkeypatch.chdir(tmp_path)

    for words in (
        ["list", URL],
        ["show", f"{URL}/checkpoint-5"],
        ["best", URL],
        ["export", URL],
        ["report", URL, "-o", "page.html"],
        ["seal", URL, "--algorithm", "sha256"],
        ["diff", f"{URL}/checkpoint-10", f"{run}/checkpoint-10"],
    ):
        assert command(words) == 0, capsys.readouterr().err
    assert f"{URL}/checkpoint-5" in capsys.readouterr().out
    assert not (Path(run) / ".audit").exists()


def test_the_guard_names_the_url_and_fetches_what_it_hands_out(
    bucket: Bucket, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    run = make_run(tmp_path / "run", (5, 10))
    stored(bucket, run)

    assert command(["guard", URL]) == 0
    assert capfdbinary.readouterr().out == f"{URL}/checkpoint-10\n".encode()

    assert command(["guard", URL, "--fetch", str(tmp_path / "here")]) == 0
    assert capfdbinary.readouterr().out == f"{tmp_path}/here/checkpoint-10\n".encode()
    assert files_of(tmp_path / "here") == {
        f"checkpoint-10/{path}": data for path, data in files_of(Path(run) / "checkpoint-10").items()
    }
    assert verify(tmp_path / "here", Options(ledger=False)).verdict == "sound"


def test_a_ledger_may_be_kept_elsewhere(bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored(bucket, make_run(tmp_path / "run", (5,)))

    assert command(["verify", URL, "--ledger", str(tmp_path / "ledgers")]) == 0
    assert command(["list", URL, "--ledger", str(tmp_path / "ledgers")]) == 0

    assert "sealed" in capsys.readouterr().out
    assert len(list((tmp_path / "ledgers").iterdir())) == 1
    assert not (tmp_path / "state").exists()


def test_times_of_an_upload_are_not_shown_as_those_of_the_training(
    bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(bucket, make_run(tmp_path / "run", (5,), limit=1))

    assert command(["list", URL, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["checkpoints"][0]["saved"] is None


def test_a_mirror_may_keep_more_than_the_trainer(bucket: Bucket, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (5, 10, 15), limit=1)
    stored(bucket, run)

    assert "rotation/limit-exceeded" in {item.rule for item in verify(run, Options(ledger=False)).findings}
    assert verify(URL, Options(ledger=False)).findings == ()


def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.setitem(sys.modules, "fsspec", None)

    with pytest.raises(AuditError, match=r"obstore; install it with: pip install 'checkpoint-audit\[remote\]'"):
        verify("s3://b/run")
    with pytest.raises(AuditError, match="fsspec"):
        verify("memory://run")
