"""audit list and audit show: facts, and the state as far as it shows without reading weights."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.testing.runs import edit_arguments, edit_json, edit_scheduler, edit_state, make_run
from tests.audit.batch_rows import finished, leg, tell
from tests.audit.cli.conftest import Ended, one_line

Audit = Callable[..., Ended]


def states(audit: Audit, run: str) -> list[str]:
    return [row["state"] for row in json.loads(audit("list", run, "--format", "json").out)["checkpoints"]]


def test_a_run_is_listed_by_step_with_the_total(audit: Audit, run: str) -> None:
    ended = audit("list", run)
    assert (ended.code, ended.err) == (0, "")
    head, *lines, total = ended.out.splitlines()
    assert head.split()[:4] == ["CHECKPOINT", "STEP", "EPOCH", "LOSS"]
    assert [line.split()[:2] for line in lines] == [[f"checkpoint-{step}", str(step)] for step in (100, 200, 300)]
    size = sum(path.stat().st_size for path in Path(run).rglob("*") if path.is_file())
    assert total == f"3 checkpoints, {size / 1000:.1f} kB"


def test_a_list_for_programs_is_json(audit: Audit, broken: str) -> None:
    rows = json.loads(audit("list", broken, "--format", "json").out)["checkpoints"]
    assert [(row["global_step"], row["kind"]) for row in rows] == [(100, "adapter"), (200, "adapter"), (300, "adapter")]


def test_a_broken_checkpoint_is_listed_with_the_rule_that_says_so(audit: Audit, broken: str) -> None:
    assert states(audit, broken) == ["resumable", "resumable", "broken"]
    assert audit("list", broken).out.splitlines()[3].endswith("broken                  files/missing-optimizer")


def test_a_state_that_rests_on_structure_says_so(audit: Audit, run: str) -> None:
    assert audit("verify", run).code == 0
    later = time.time() + 5
    os.utime(f"{run}/checkpoint-300/README.md", (later, later))

    rows = json.loads(audit("list", run, "--format", "json").out)["checkpoints"]
    assert [(row["state"], row["by_structure"]) for row in rows][1:] == [("sealed", False), ("resumable", True)]
    assert "  resumable by structure  " in audit("list", run).out.splitlines()[3]
    quick = audit("verify", run, "--depth", "quick", "--format", "json")
    assert [item["by_structure"] for item in json.loads(quick.out)["checkpoints"]] == [False, False, True]
    text = audit("verify", run, "--depth", "quick").out
    assert text.startswith(f"{run}: SOUND BY STRUCTURE  ")
    assert "Resume from checkpoint-300, judged by its structure alone.\n" in text
    assert ": SOUND  " in audit("verify", run).out


def test_a_sealed_checkpoint_is_sealed_until_a_file_of_it_is_touched(audit: Audit, run: str) -> None:
    assert audit("verify", run).code == 0
    assert states(audit, run) == ["sealed"] * 3
    later = time.time() + 5
    os.utime(f"{run}/checkpoint-200/README.md", (later, later))
    assert states(audit, run) == ["sealed", "resumable", "sealed"]
    assert audit("list", run).out.splitlines()[2].endswith("sealed, but touched since")


def test_a_touched_checkpoint_is_sealed_again_once_every_byte_was_read_again(audit: Audit, run: str) -> None:
    assert audit("verify", run).code == 0
    later = time.time() + 5
    for path in Path(run, "checkpoint-200").iterdir():  # as a copy of the run has it
        os.utime(path, (later, later))
    assert audit("verify", run, "--depth", "quick").code == 0
    assert states(audit, run) == ["sealed", "resumable", "sealed"]
    assert audit("verify", run).code == 0
    assert states(audit, run) == ["sealed"] * 3


def test_a_file_that_is_not_what_was_sealed_is_not_sealed_again(audit: Audit, run: str) -> None:
    assert audit("verify", run).code == 0
    readme = Path(run, "checkpoint-200", "README.md")
    readme.write_bytes(readme.read_bytes().swapcase())
    later = time.time() + 5
    os.utime(readme, (later, later))
    assert states(audit, run) == ["sealed", "resumable", "sealed"]
    assert audit("verify", run).code == 1
    assert states(audit, run) == ["sealed", "broken", "sealed"]


def test_a_file_that_came_later_is_under_no_seal(audit: Audit, run: str) -> None:
    assert audit("verify", run).code == 0
    added = Path(run, "checkpoint-200", "notes.txt")
    added.write_text("later\n")
    later = time.time() + 5
    os.utime(added, (later, later))
    audit("verify", run)
    assert states(audit, run) == ["sealed", "resumable", "sealed"]


def test_a_torn_checkpoint_is_listed_with_what_is_known(audit: Audit, run: str) -> None:
    Path(run, "checkpoint-300", "trainer_state.json").unlink()
    line = audit("list", run).out.splitlines()[-2]
    assert line.split()[:3] == ["checkpoint-300", "-", "-"]
    assert "in progress" in line


def test_weights_alone_are_no_broken_checkpoint(audit: Audit, tmp_path: Path) -> None:
    run = make_run(tmp_path / "weights", (100,), save_only_model=True)
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        Path(run, "checkpoint-100", name).unlink()
    assert states(audit, run) == ["weights only"]


def test_the_best_checkpoint_is_the_one_that_the_newest_names(audit: Audit, tmp_path: Path) -> None:
    run = make_run(tmp_path / "best", best=True)
    edit_state(f"{run}/checkpoint-300", best_model_checkpoint=f"{run}/checkpoint-200")
    assert [row["remark"] for row in json.loads(audit("list", run, "--format", "json").out)["checkpoints"]] == [
        "",
        "best",
        "",
    ]


def test_looking_records_nothing(audit: Audit, run: str) -> None:
    for command in ("list", "show", "export"):
        assert audit(command, run).code == 0
    assert not Path(run, ".audit").exists()


def test_the_configuration_has_its_say(audit: Audit, broken: str) -> None:
    Path("audit.toml").write_text('ignore = ["files/missing-optimizer"]\n')
    assert states(audit, broken)[-1] == "resumable"
    Path("audit.toml").write_text("ignore = 3\n")
    assert "audit.toml: ignore" in one_line(audit("list", broken))


def test_an_empty_checkpoint_can_be_listed_and_shown(audit: Audit, tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoint-5").mkdir(parents=True)
    assert "checkpoint-5" in audit("list", str(tmp_path / "run")).out
    assert audit("show", str(tmp_path / "run")).code == 0


def test_no_line_of_a_shown_checkpoint_ends_between_a_name_and_its_value(audit: Audit, run: str) -> None:
    path = Path(run, "checkpoint-300", "trainer_state.json")
    for steps in range(1, 12):  # of another width each time: some of them reach the end of the line
        edit_state(str(path.parent), save_steps=10**steps)
        lines = audit("show", run).out.splitlines()
        assert any(f"save_steps {10**steps}" in line for line in lines)
        assert not any(line.endswith("train_batch_size") for line in lines)


def test_a_run_shows_its_newest_checkpoint_on_one_screen(audit: Audit, run: str) -> None:
    ended = audit("show", run)
    assert ended.code == 0
    assert ended.out.startswith(f"{run}/checkpoint-300\nresumable by structure; adapter, 8 files, ")
    for part in (
        "global_step 300",
        "last_epoch 300",
        "parameters with state 8",
        "lora_alpha 8",
        "adapter_model.safete",
    ):
        assert part in ended.out
    assert len(ended.out.splitlines()) <= 24


def test_last_and_best_loss_are_shown_with_their_steps(audit: Audit, run: str) -> None:
    edit_state(
        f"{run}/checkpoint-300",
        log_history=[
            {"step": 100, "loss": 3.0, "learning_rate": 0.5},
            {"step": 200, "loss": 1.0},
            {"step": 250, "loss": float("nan")},
            {"step": 300, "loss": 2.0, "learning_rate": 0.25},
        ],
    )
    document = json.loads(audit("show", run, "--format", "json").out)["sections"]
    assert document["log"] == {
        "entries": 4,
        "loss": {"last": 2.0, "at": 300, "best": 1.0, "best at": 200},
        "learning_rate": 0.25,
    }


def test_one_checkpoint_is_shown(audit: Audit, run: str) -> None:
    document = json.loads(audit("show", f"{run}/checkpoint-200", "--format", "json").out)
    assert document["checkpoint"]["name"] == "checkpoint-200"
    assert document["sections"]["trainer state"]["global_step"] == document["sections"]["schedule"]["last_epoch"] == 200


def test_of_very_many_files_the_largest_are_shown(audit: Audit, run: str) -> None:
    for number in range(50):
        Path(run, "checkpoint-300", f"note-{number}.txt").write_text("x" * number)
    out = audit("show", run).out
    assert "note-49.txt" in out
    assert "note-1.txt" not in out
    assert "and 38 more" in out


def test_numbers_that_json_has_no_word_for_are_texts(audit: Audit, run: str) -> None:
    checkpoint = f"{run}/checkpoint-300"
    edit_arguments(checkpoint, learning_rate=float("nan"))
    edit_scheduler(checkpoint, _last_lr=[float("inf")] * 2)
    edit_json(f"{checkpoint}/adapter_config.json", target_modules=[float("-inf")])
    document = json.loads(audit("show", checkpoint, "--format", "json").out, parse_constant=pytest.fail)
    assert document["sections"]["schedule"]["learning rate now"] == "inf"
    assert document["sections"]["training arguments"]["learning_rate"] == "nan"
    assert document["sections"]["adapter default"]["target_modules"] == ["-inf"]


def test_a_value_of_any_length_or_depth_takes_one_line(audit: Audit, run: str) -> None:
    deep: object = "end"
    for _ in range(400):
        deep = [deep]
    edit_json(f"{run}/checkpoint-300/adapter_config.json", r=10**37, target_modules="q" * 10**6, lora_alpha=deep)
    ended = audit("show", run)
    assert ended.code == 0
    assert max(map(len, ended.out.splitlines())) < 200
    assert json.loads(audit("show", run, "--format", "json").out)["sections"]["adapter default"]["r"] == 10**37


@pytest.mark.parametrize("command", ["list", "show", "best", "export"])
def test_without_a_checkpoint_there_is_nothing_to_show(audit: Audit, tmp_path: Path, command: str) -> None:
    assert "no checkpoint-N directory in it" in one_line(audit(command, str(tmp_path / "cwd")))
    assert "no such run" in one_line(audit(command, str(tmp_path / "nowhere")))
    assert "argument --format: invalid choice" in one_line(audit(command, ".", "--format", "xml"))


def test_the_epochs_of_a_run_of_batches_never_go_back(audit: Audit, run: str) -> None:
    tell(run, leg("monday", 0, 100, epochs=2), finished("monday", 0, 100))
    tell(run, leg("tuesday", 100, 400), finished("tuesday", 100, 400))
    for step, epoch in ((100, 2.0), (200, 0.25), (300, 0.5)):  # as Trainer writes it where the second batch is larger
        edit_state(f"{run}/checkpoint-{step}", epoch=epoch)

    rows = json.loads(audit("list", run, "--format", "json").out)["checkpoints"]

    assert [row["epoch"] for row in rows] == [2.0, 0.25, 0.5]
    assert [row["run_epoch"] for row in rows] == [2.0, 2.333333, 2.666667]
    assert [line.split()[2] for line in audit("list", run).out.splitlines()[1:4]] == ["2", "2.33333", "2.66667"]


def test_without_batches_the_epoch_is_that_of_the_file(audit: Audit, run: str) -> None:
    edit_state(f"{run}/checkpoint-300", epoch=1.25)
    row = json.loads(audit("list", run, "--format", "json").out)["checkpoints"][2]
    assert (row["epoch"], row["run_epoch"]) == (1.25, None)
    assert audit("list", run).out.splitlines()[3].split()[2] == "1.25"
