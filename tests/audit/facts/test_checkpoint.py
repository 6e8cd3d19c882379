"""One checkpoint: is it complete, what do its files say, which of them are damaged."""

import os
from pathlib import Path
from typing import Any

import pytest

from audit.errors import NotApplicable
from audit.facts.checkpoint import Checkpoint
from audit.facts.run import open_run
from audit.formats.damage import Kind
from audit.manager import load
from audit.storage import Entry, LocalStorage
from audit.testing.runs import edit_state, make_run

SENTINEL = "checkpoint-is-incomplete.txt"
SECOND = 1_000_000_000
NOW = 1_800_000_000 * SECOND
STATE = "trainer_state.json"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return Path(make_run(tmp_path / "run"), "checkpoint-200")


def opened(place: Path, **options: Any) -> Checkpoint:
    """The checkpoint at ``place``, as part of its run."""
    run = open_run(str(place.parent), load().backends, **options)
    return next(checkpoint for checkpoint in run.checkpoints if checkpoint.name == place.name)


def test_the_facts_of_a_sound_checkpoint_agree(place: Path) -> None:
    checkpoint = opened(place)
    assert checkpoint.state.global_step == checkpoint.scheduler.last_epoch == max(checkpoint.optimizer.steps) == 200
    assert (checkpoint.layout.kind, checkpoint.arguments["learning_rate"]) == ("adapter", 1e-4)
    (adapter,), (weights,) = checkpoint.adapters, checkpoint.weights
    assert adapter.tensors == weights.tensors
    assert (len(adapter.tensors), adapter.config["r"]) == (8, 4)
    assert set(checkpoint.rng) == {"rng_state.pth"}
    assert set(checkpoint.scan) == set(checkpoint.files)
    assert not checkpoint.damages
    assert checkpoint.optional("scaler") is None


@pytest.mark.parametrize(
    ("name", "fact"),
    [
        ("optimizer.pt", "optimizer"),
        ("scheduler.pt", "scheduler"),
        (STATE, "state"),
        ("training_args.bin", "arguments"),
        ("adapter_model.safetensors", "weights"),
        ("adapter_config.json", "adapters"),
        ("rng_state.pth", "rng"),
    ],
)
def test_a_missing_or_damaged_file_takes_its_fact_away_and_no_other(place: Path, name: str, fact: str) -> None:
    (place / name).write_bytes(b"garbage")
    damaged = opened(place)
    assert [(file.path, damage.kind) for file, damage in damaged.damages] == [(name, Kind.MALFORMED)]
    (place / name).unlink()
    missing = opened(place)
    for checkpoint in (damaged, missing):
        assert not checkpoint.optional(fact)
    if name != STATE:
        assert damaged.state.global_step == missing.state.global_step == 200


def test_every_kind_of_damage_is_told_apart(place: Path) -> None:
    (place / "optimizer.pt").write_bytes(b"")
    (place / "scheduler.pt").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    (place / "adapter_config.json").write_bytes(b"[" * 100_000)
    (place / "rng_state.pth").write_bytes(b"PK\3\4")
    assert {file.path: damage.kind for file, damage in opened(place).damages} == {
        "optimizer.pt": Kind.EMPTY,
        "scheduler.pt": Kind.PLACEHOLDER,
        "adapter_config.json": Kind.OVERSIZED,
        "rng_state.pth": Kind.MALFORMED,
    }


def test_a_large_tokenizer_is_parsed_at_full_depth_only(place: Path) -> None:
    (place / "tokenizer.json").write_bytes(b" " * (1 << 20) + b"{")
    assert not opened(place, depth="quick").damages
    assert [file.path for file, _ in opened(place, depth="full").damages] == ["tokenizer.json"]


def test_links_and_pipes_are_no_damage_and_are_never_opened(place: Path) -> None:
    (place / "out.json").symlink_to("/etc/passwd")
    os.mkfifo(place / "pipe.json")
    checkpoint = opened(place)
    assert not checkpoint.damages
    assert not {"out.json", "pipe.json"} & set(checkpoint.scan)


def test_the_scan_needs_full_depth(place: Path) -> None:
    with pytest.raises(NotApplicable, match="needs --depth full"):
        _ = opened(place, depth="quick").scan


def test_a_stand_in_is_a_placeholder_or_a_directory_that_cannot_be_listed(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "optimizer.pt.part_aa").write_bytes(b"x")
    second = place / "second"
    second.mkdir()
    listed = LocalStorage.list

    def refuse(self: LocalStorage, path: str) -> list[Entry]:
        if path == "checkpoint-200/second":
            raise PermissionError(13, "Permission denied")
        return listed(self, path)

    monkeypatch.setattr(LocalStorage, "list", refuse)
    checkpoint = opened(place)
    assert checkpoint.stands_in("optimizer.pt") == "optimizer.pt.part_aa"
    assert checkpoint.stands_in("second/inner/adapter_config.json") == "second"
    assert checkpoint.stands_in("third/adapter_config.json") is None
    assert checkpoint.stands_in("scheduler.pt") is None


def test_size_counts_files_and_not_what_links_lead_to(place: Path) -> None:
    before = opened(place).bytes
    (place / "out").symlink_to("/etc/passwd")
    (place / "ten").write_bytes(bytes(10))
    assert opened(place).bytes == before + 10


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/data/run/checkpoint-100", "checkpoint-100"),
        ("run/checkpoint-100/", "checkpoint-100"),
        ("C:\\run\\checkpoint-100\\", "checkpoint-100"),
        ("checkpoint-100", "checkpoint-100"),
        ("", None),
        ("/", None),
        (None, None),
    ],
)
def test_the_best_that_is_recorded_is_the_last_part_of_a_path(place: Path, path: str | None, name: str | None) -> None:
    edit_state(place, best_model_checkpoint=path)

    assert opened(place).best_recorded == name


def test_without_a_readable_state_no_best_is_recorded(place: Path) -> None:
    (place / STATE).write_text("[]")

    assert opened(place).best_recorded is None
