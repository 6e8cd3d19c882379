import json
from pathlib import Path

import pytest

from audit.findings import Outcome, Severity
from audit.testing.judging import check, outcome, report
from audit.testing.runs import edit_arguments, edit_json, edit_state, make_run

RULE = "security/secret"
TOKEN = "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH"


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run", (100, 200))


@pytest.mark.parametrize(
    "secret",
    [
        TOKEN,
        "sk-" + "proj-A1b2C3d4E5f6G7h8I9j0K1l2",
        "ghp_" + "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8",
        "AKIA" + "IOSFODNN7EXAMPLE",
        "AIza" + "SyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q",
        "glpat-" + "A1b2C3d4E5f6G7h8I9j0",
    ],
)
def test_a_token_in_a_json_file_is_found_and_never_shown(run: str, secret: str) -> None:
    edit_json(f"{run}/checkpoint-200/adapter_config.json", note=f"token={secret};")

    (finding,) = check(run, RULE)

    assert (finding.severity, finding.checkpoint, finding.file) == (
        Severity.WARNING,
        "checkpoint-200",
        "adapter_config.json",
    )
    assert secret[:4] in finding.message
    assert secret[:5] not in repr(finding)


def test_a_private_key_and_a_named_value_in_text_files_are_found(run: str) -> None:
    Path(run, "checkpoint-200", "key.txt").write_text("-----BEGIN OPENSSH PRIVATE" + " KEY-----\nab", encoding="utf-8")
    Path(run, "checkpoint-200", ".env").write_text("WANDB_API_KEY=" + "0123456789abcdef" * 2, encoding="utf-8")

    assert sorted(str(finding.file) for finding in check(run, RULE)) == [".env", "key.txt"]


def test_the_hub_token_of_all_checkpoints_is_one_finding_at_the_newest(run: str) -> None:
    for step in (100, 200):
        edit_arguments(f"{run}/checkpoint-{step}", hub_token="my own token")

    (finding,) = check(run, RULE)

    assert (finding.checkpoint, finding.file) == ("checkpoint-200", "training_args.bin")
    assert finding.message.endswith("(and of 1 more) has what looks like a secret, hub_token: my o...")


def test_a_token_in_any_other_argument_is_found(run: str) -> None:
    edit_arguments(f"{run}/checkpoint-200", model_init_kwargs={"token": TOKEN})

    assert len(check(run, RULE)) == 1


def test_a_token_in_the_trainer_state_is_found(run: str) -> None:
    edit_state(f"{run}/checkpoint-200", trial_params={"token": TOKEN})

    assert [finding.file for finding in check(run, RULE)] == ["trainer_state.json"]


@pytest.mark.parametrize("value", [None, True, "", "<HUB_TOKEN>", "$HF_TOKEN", "********"])
def test_what_stands_for_a_token_is_none(run: str, value: object) -> None:
    edit_arguments(f"{run}/checkpoint-200", hub_token=value)

    assert outcome(run, RULE).outcome is Outcome.PASS


@pytest.mark.parametrize(
    "text",
    [
        "sk-learn-compatible-estimators-of-all-kinds",
        "disk-A1b2C3d4E5f6G7h8I9j0K1l2",
        "hf_" + "a" * 30,
        "hf_short1A",
        "xhf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH",
        "AKIA" + "IOSFODNN7EXAMPLE1",
        "0123456789abcdef0123456789abcdef01234567",
    ],
)
def test_words_that_only_begin_like_a_token_are_none(run: str, text: str) -> None:
    Path(run, "checkpoint-200", "notes.md").write_text(f"see {text} there", encoding="utf-8")

    assert check(run, RULE) == []


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json", "merges.txt", "added_tokens.json"])
def test_vocabularies_are_left_out(run: str, name: str) -> None:
    Path(run, "checkpoint-200", name).write_text(json.dumps({TOKEN: 1}), encoding="utf-8")

    assert check(run, RULE) == []


def test_the_report_shows_no_secret_anywhere(run: str) -> None:
    edit_arguments(f"{run}/checkpoint-200", hub_token=TOKEN)

    assert TOKEN not in repr(report(run))
