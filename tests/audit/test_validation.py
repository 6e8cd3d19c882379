"""The audit as the function that Composer calls before it loads a file; no framework is needed to try it."""

import json
import logging
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from struct import pack

import pytest

from audit.testing.json_files import safetensors_bytes
from audit.testing.runs import make_run
from audit.testing.torch_files import FakeTensor, Made, torch_archive_bytes
from audit.validation import validate_checkpoint, why_invalid


def tensor(*values: float) -> FakeTensor:
    return FakeTensor("F32", (len(values),), pack(f"<{len(values)}f", *values))


def composer_state(**changes: object) -> dict[str, object]:
    """What Composer saves, in small: nested states, a time span, numpy's random state, a metric at its start."""
    state = {
        "model": {"layer.weight": tensor(1.0, 2.0), "attention.mask": tensor(float("-inf"), 0.0)},
        "optimizers": {"AdamW": {"state": {"layer.weight": {"exp_avg": tensor(0.1, 0.2)}}}},
        "timestamp": {"Timestamp": {"epoch": 1, "total_wct": Made("datetime.timedelta", (1, 2, 3))}},
        "train_metrics": {"Best": {"value": tensor(float("inf"))}},
        "eval_metrics": {"Loss": Made("torchmetrics.aggregation.MeanMetric", (), {"n": 1})},
        **changes,
    }
    return {"state": state, "rng": [{"numpy": Made("numpy._core.multiarray._reconstruct", ())}]}


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "ep1-ba100-rank0.pt"
    path.write_bytes(torch_archive_bytes(composer_state()))
    return path


def broken(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    reason = why_invalid(path)
    assert reason is not None
    assert validate_checkpoint(path) is False
    return reason


# -- the shape --------------------------------------------------------------------------------------------------------


def ensure_valid(path: object, *specs: object) -> object:
    """Do what Composer does: find the function by its name in the environment, ValueError where it says no."""
    module, _, name = os.environ["CHECKPOINT_VALIDATION_FUNCTION"].rpartition(".")
    if not getattr(import_module(module), name)(path, *specs):
        raise ValueError(path)
    return path


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("specs", [(), (None,)], ids=["older", "newer"])
def test_composer_finds_it_by_its_name_and_gets_a_bool(
    sound: Path, kind: Callable[[Path], object], specs: tuple[None, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHECKPOINT_VALIDATION_FUNCTION", "audit.validation.validate_checkpoint")

    assert ensure_valid(kind(sound), *specs) == kind(sound)
    assert validate_checkpoint(sound) is True

    sound.write_bytes(sound.read_bytes()[:-200])
    with pytest.raises(ValueError, match="rank0"):
        ensure_valid(kind(sound), *specs)


def test_the_reason_is_logged(sound: Path, caplog: pytest.LogCaptureFixture) -> None:
    sound.write_bytes(b"")

    assert not validate_checkpoint(sound)

    assert caplog.record_tuples == [("audit", logging.ERROR, f"{sound}: is empty")]


# -- one file ---------------------------------------------------------------------------------------------------------


def test_a_link_to_a_file_is_followed_as_composer_makes_one(sound: Path, tmp_path: Path) -> None:
    (tmp_path / "latest-rank0.pt").symlink_to(sound.name)

    assert why_invalid(tmp_path / "latest-rank0.pt") is None


def test_a_file_without_an_ending_is_known_by_its_bytes(sound: Path, tmp_path: Path) -> None:
    os.rename(sound, tmp_path / "rank0")

    assert why_invalid(tmp_path / "rank0") is None


def test_a_changed_byte_is_found(sound: Path) -> None:
    data = sound.read_bytes()
    at = data.index(pack("<2f", 0.1, 0.2))

    assert "CRC" in broken(sound, data[:at] + b"\xff" + data[at + 1 :])


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"model": {"layer.weight": tensor(float("nan"))}}, "state.model.layer.weight"),
        ({"optimizers": {"AdamW": [tensor(float("inf"))]}}, "state.optimizers.AdamW.0"),
    ],
)
def test_a_number_that_is_not_finite_is_named(sound: Path, changes: dict[str, object], where: str) -> None:
    reason = broken(sound, torch_archive_bytes(composer_state(**changes)))

    assert reason == f"holds NaN or infinite values in {where}"


@pytest.mark.parametrize(
    "name", ["os.system", "builtins.eval", "datetime.os.system", "composer.utils.os.system", "mine.Thing"]
)
def test_a_name_that_has_no_place_in_a_checkpoint_is_refused(sound: Path, name: str) -> None:
    reason = broken(sound, torch_archive_bytes(composer_state(callbacks=Made(name, ("x",)))))

    assert name in reason


def test_safetensors_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors_bytes({"weight": tensor(1.0, 2.0)}))

    assert why_invalid(path) is None
    assert "weight" in broken(path, safetensors_bytes({"weight": tensor(1.0, float("nan"))}))
    broken(path, path.read_bytes()[:-1])


@pytest.mark.parametrize("data", [b"hello", b"\x28\xb5\x2f\xfd" + bytes(100)], ids=["text", "zstd"])
def test_a_file_of_no_known_format_is_not_called_good(tmp_path: Path, data: bytes) -> None:
    assert "has an unknown format" in broken(tmp_path / "ep1-rank0", data)


def test_a_file_that_is_not_there_is_not_good(tmp_path: Path) -> None:
    assert why_invalid(tmp_path / "gone.pt") == "cannot be read: No such file or directory"


def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")

    assert why_invalid(tmp_path / "pipe.pt")


# -- sharded files ----------------------------------------------------------------------------------------------------


@pytest.fixture
def sharded(tmp_path: Path) -> tuple[Path, list[tuple[int, int]]]:
    """A directory as torch.distributed.checkpoint writes it, and the parts of its one file."""
    home = tmp_path / "ba1"
    home.mkdir()
    data, specs, places = b"", [], {}
    for number in range(3):
        part = torch_archive_bytes({"weight": tensor(1.0, number + 0.5)})
        state = {"relative_path": "__0_0.distcp", "offset": len(data), "length": len(part)}
        places[f"layer.{number}"] = Made("torch.distributed.checkpoint.filesystem._StorageInfo", (), state)
        specs.append((len(data), len(part)))
        data += part
    (home / "__0_0.distcp").write_bytes(data)
    (home / ".metadata").write_bytes(torch_archive_bytes({"storage_data": places}))
    return home, specs


def test_the_parts_that_are_named_are_read(sharded: tuple[Path, list[tuple[int, int]]]) -> None:
    home, specs = sharded
    file = home / "__0_0.distcp"
    data = file.read_bytes()
    at = data.index(pack("<2f", 1.0, 1.5))
    assert validate_checkpoint(file, specs) is True

    file.write_bytes(data[:at] + b"\xff" + data[at + 1 :])

    assert validate_checkpoint(file, [specs[0], specs[2]]) is True
    assert validate_checkpoint(file, specs) is False
    assert str(why_invalid(file, specs)).startswith(f"the part at {specs[1][0]}: was changed")


def test_a_file_that_was_cut_is_shorter_than_its_last_part(sharded: tuple[Path, list[tuple[int, int]]]) -> None:
    home, specs = sharded
    file = home / "__0_0.distcp"
    file.write_bytes(file.read_bytes()[:-1])

    assert "is truncated" in str(why_invalid(file, specs))
    assert "is truncated" in str(why_invalid(file))


def test_a_part_with_code_in_it_is_refused(sharded: tuple[Path, list[tuple[int, int]]]) -> None:
    evil = torch_archive_bytes(Made("os.system", ("x",)))
    file = sharded[0] / "__0_0.distcp"
    file.write_bytes(evil)

    assert "os.system" in str(why_invalid(file, [(0, len(evil))]))


@pytest.mark.parametrize("specs", [[(-1, 5)], [(0, -5)], [(0, 1 << 70)]])
def test_parts_that_cannot_be_are_refused(
    sharded: tuple[Path, list[tuple[int, int]]], specs: list[tuple[int, int]]
) -> None:
    assert why_invalid(sharded[0] / "__0_0.distcp", specs) is not None


def test_a_whole_directory_of_parts_is_read_with_the_help_of_its_metadata(
    sharded: tuple[Path, list[tuple[int, int]]],
) -> None:
    home = sharded[0]
    assert why_invalid(home) is None
    data = (home / "__0_0.distcp").read_bytes()
    at = data.index(pack("<2f", 1.0, 1.5))

    (home / "__0_0.distcp").write_bytes(data[:at] + b"\xff" + data[at + 1 :])
    assert "CRC" in str(why_invalid(home))

    (home / ".metadata").unlink()
    assert ".metadata" in str(why_invalid(home))


# -- directories ------------------------------------------------------------------------------------------------------


def test_a_checkpoint_of_trainer_is_judged_by_all_rules(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    Path(run, "checkpoint-300", "optimizer.pt").unlink()

    assert validate_checkpoint(f"{run}/checkpoint-200/") is True
    assert str(why_invalid(f"{run}/checkpoint-300")).endswith("(files/missing-optimizer)")
    assert str(why_invalid(run)).startswith("the newest checkpoint is not resumable")
    assert not os.path.exists(os.path.join(run, ".audit"))


def test_a_sound_run_is_good(tmp_path: Path) -> None:
    assert validate_checkpoint(make_run(tmp_path / "run")) is True


def test_each_file_of_another_directory_is_looked_at(sound: Path, tmp_path: Path) -> None:
    home = tmp_path / "model"
    (home / "deep").mkdir(parents=True)
    (home / "README.md").write_text("text")
    (home / "config.json").write_text(json.dumps({"a": 1}))
    os.rename(sound, home / "deep" / "weights.pt")
    assert why_invalid(home) is None

    (home / "config.json").write_text('{"a": ')

    assert str(why_invalid(home)).startswith("config.json ")


def test_a_link_in_a_directory_is_refused(sound: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.pt").symlink_to(sound)

    assert "is a link" in str(why_invalid(tmp_path / "model"))


def test_an_empty_directory_is_not_good(tmp_path: Path) -> None:
    assert why_invalid(tmp_path) == "has no file"
