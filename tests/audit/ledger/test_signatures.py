"""Signatures over seals: model_signing itself must accept them, and nothing that was changed."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.cli import run as command
from audit.testing.runs import make_run

pytest.importorskip("model_signing", reason="the extra signing is not installed")

Keys = tuple[Path, Path]


def make_keys(home: Path, curve: str = "SECP256R1", name: str = "key", password: bytes | None = None) -> Keys:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(getattr(ec, curve)())
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    paths = home / f"{name}.pem", home / f"{name}.pub"
    paths[0].write_bytes(private.private_bytes(serialization.Encoding.PEM, form, lock))
    subject = serialization.PublicFormat.SubjectPublicKeyInfo
    paths[1].write_bytes(private.public_key().public_bytes(serialization.Encoding.PEM, subject))
    return paths


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return make_keys(tmp_path)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(make_run(tmp_path / "run", (100, 200)))


def signature(run: Path, step: int = 200) -> Path:
    return run / ".audit" / "seals" / f"checkpoint-{step}.sig"


def model_signing(run: Path, key: Path) -> subprocess.CompletedProcess[str]:
    """The command of the library, as people outside have it."""
    words = ["verify", "key", str(run / "checkpoint-200"), "--signature", str(signature(run)), "--public_key", str(key)]
    return subprocess.run(
        [sys.executable, "-m", "model_signing", *words], capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize("curve", ["SECP256R1", "SECP384R1", "SECP521R1"])
def test_the_command_of_model_signing_accepts_it(run: Path, tmp_path: Path, curve: str) -> None:
    private, public = make_keys(tmp_path, curve)

    assert command(["seal", str(run), "--sign-key", str(private)]) == 0

    checked = model_signing(run, public)
    assert (checked.returncode, checked.stdout) == (0, "Verification succeeded\n"), checked.stderr


def test_the_library_accepts_the_digests_of_the_seal_as_they_are(run: Path, keys: Keys) -> None:
    from model_signing import verifying

    assert command(["seal", str(run), "--sign-key", str(keys[0]), "--algorithm", "blake3"]) == 0

    checked: Any = verifying.Config  # without annotations, if it is installed where types are checked
    checked().use_elliptic_key_verifier(public_key=keys[1]).verify(run / "checkpoint-200", signature(run))
    signed = json.loads(base64.b64decode(json.loads(signature(run).read_text())["dsseEnvelope"]["payload"]))
    digests = {item["name"]: item["digest"] for item in signed["predicate"]["resources"]}
    lines = (run / ".audit" / "seals" / "checkpoint-200.b3").read_text().splitlines()
    assert digests == {path.removeprefix("checkpoint-200/"): digest for digest, path in map(str.split, lines)}


@pytest.mark.parametrize("algorithm", ["sha256", "blake3"])
def test_our_own_check_agrees(run: Path, keys: Keys, algorithm: str, capfd: pytest.CaptureFixture[str]) -> None:
    command(["seal", str(run), "--sign-key", str(keys[0]), "--algorithm", algorithm])
    capfd.readouterr()

    assert command(["seal", str(run), "--verify-key", str(keys[1])]) == 0
    assert capfd.readouterr().out == "valid       checkpoint-100\nvalid       checkpoint-200\n"


def flip(home: Path) -> None:
    """One bit, the times as they were: for the cache of the ledger nothing has changed."""
    path = home / "adapter_model.safetensors"
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def add(home: Path) -> None:
    (home / "handler.py").write_text("print()")


def remove(home: Path) -> None:
    (home / "README.md").unlink(missing_ok=True)
    (home / "scheduler.pt").unlink()


def link(home: Path) -> None:
    (home / "scheduler.pt").rename(home / "other.pt")
    (home / "scheduler.pt").symlink_to("other.pt")


@pytest.mark.parametrize("change", [flip, add, remove, link])
@pytest.mark.parametrize("algorithm", ["sha256", "blake3"])
def test_a_changed_checkpoint_is_not_accepted(
    run: Path, keys: Keys, algorithm: str, change: Callable[[Path], None], capfd: pytest.CaptureFixture[str]
) -> None:
    command(["seal", str(run), "--sign-key", str(keys[0]), "--algorithm", algorithm])
    change(run / "checkpoint-200")
    capfd.readouterr()

    assert command(["seal", str(run), "--verify-key", str(keys[1])]) == 1
    out = capfd.readouterr().out
    assert "valid       checkpoint-100\n" in out
    assert "not proven  checkpoint-200: " in out
    assert model_signing(run, keys[1]).returncode == 1


def test_the_key_of_somebody_else_does_not_fit(run: Path, keys: Keys, tmp_path: Path) -> None:
    command(["seal", str(run), "--sign-key", str(keys[0])])

    assert command(["seal", str(run), "--verify-key", str(make_keys(tmp_path, name="other")[1])]) == 1


def test_a_checkpoint_without_a_signature_is_not_proven(
    run: Path, keys: Keys, capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(["seal", str(run), "--verify-key", str(keys[1])]) == 1
    assert "not proven  checkpoint-100: there is no signature\n" in capfd.readouterr().out


def edited(bundle: dict[str, Any], **predicate: Any) -> str:
    payload = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    payload["predicate"]["serialization"].update(predicate)
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    return json.dumps(bundle)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda bundle: "",
        lambda bundle: "[]",
        lambda bundle: "[" * 100_000,
        lambda bundle: json.dumps({"dsseEnvelope": 1}),
        lambda bundle: json.dumps({**bundle, "verificationMaterial": None}),
        lambda bundle: edited(bundle, ignore_paths=["adapter_model.safetensors"]),
        lambda bundle: edited(bundle, hash_type="crc32"),
    ],
    ids=["empty", "a list", "deep", "no payload", "no key", "leaves a file out", "weak digests"],
)
def test_a_damaged_or_edited_signature_does_not_hold(
    run: Path, keys: Keys, spoil: Callable[[dict[str, Any]], str], capfd: pytest.CaptureFixture[str]
) -> None:
    command(["seal", str(run), "--sign-key", str(keys[0])])
    signature(run).write_text(spoil(json.loads(signature(run).read_text())))
    capfd.readouterr()

    assert command(["seal", str(run), "--verify-key", str(keys[1])]) == 1
    assert len(capfd.readouterr().out.splitlines()) == 2


def test_a_pipe_in_the_place_of_a_signature_does_not_hang(run: Path, keys: Keys) -> None:
    command(["seal", str(run), "--sign-key", str(keys[0])])
    signature(run).unlink()
    os.mkfifo(signature(run))

    assert command(["seal", str(run), "--verify-key", str(keys[1])]) == 1


def test_a_forged_ledger_does_not_make_us_sign_what_was_not_read(run: Path, keys: Keys) -> None:
    command(["seal", str(run)])
    flip(run / "checkpoint-200")

    assert command(["seal", str(run), "--sign-key", str(keys[0])]) == 1
    assert signature(run, 100).exists()
    assert not signature(run, 200).exists()


def test_files_of_git_are_left_out_as_model_signing_does(run: Path, keys: Keys) -> None:
    (run / "checkpoint-200" / ".gitattributes").write_text("*.safetensors filter=lfs\n")

    command(["seal", str(run), "--sign-key", str(keys[0])])

    assert model_signing(run, keys[1]).returncode == 0
    assert command(["seal", str(run), "--verify-key", str(keys[1])]) == 0


def test_a_checkpoint_with_a_link_in_it_is_not_signed(run: Path, keys: Keys, capfd: pytest.CaptureFixture[str]) -> None:
    (run / "checkpoint-200" / "copy.json").symlink_to("adapter_config.json")

    assert command(["seal", str(run), "--sign-key", str(keys[0])]) == 2
    assert "copy.json: is a link" in capfd.readouterr().err
    assert not signature(run).exists()


def test_a_name_that_is_no_text_is_not_signed(run: Path, keys: Keys, capfd: pytest.CaptureFixture[str]) -> None:
    name = os.fsencode(run / "checkpoint-200") + b"/caf\xe9.txt"
    with open(name, "wb") as file:
        file.write(b"menu")

    assert command(["seal", str(run), "--sign-key", str(keys[0])]) == 2
    assert "has a file name that is not valid text" in capfd.readouterr().err
    assert not signature(run).exists()


def test_nothing_is_left_behind_where_a_signature_cannot_be_written(run: Path, keys: Keys) -> None:
    signature(run).mkdir(parents=True)

    assert command(["seal", str(run), "--sign-key", str(keys[0])]) == 2
    assert [path.name for path in signature(run).parent.glob("*.tmp")] == []


def test_what_is_no_key_is_one_line(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no key")
    locked, _ = make_keys(tmp_path, name="locked", password=b"secret")
    koblitz = make_keys(tmp_path, "SECP256K1", name="koblitz")
    calls = [
        ("--sign-key", wrong),
        ("--verify-key", wrong),
        ("--sign-key", tmp_path / "none.pem"),
        ("--sign-key", locked),
        ("--sign-key", koblitz[0]),
        ("--verify-key", koblitz[1]),
    ]

    assert [command(["seal", str(run), option, str(key)]) for option, key in calls] == [2] * 6
    captured = capfd.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 6
    assert not (run / ".audit").exists()
