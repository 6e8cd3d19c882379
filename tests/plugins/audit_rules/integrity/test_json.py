import os
from pathlib import Path

import pytest

from audit.findings import Outcome, Severity
from audit.testing.judging import check, outcome, report
from audit.testing.runs import edit_state, make_run

RULE = "integrity/json"


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def test_a_cut_trainer_state_is_one_finding_that_blocks(run: str) -> None:
    path = f"{run}/checkpoint-300/trainer_state.json"
    os.truncate(path, os.path.getsize(path) // 2)

    (finding,) = check(run, RULE)

    assert (finding.checkpoint, finding.file) == ("checkpoint-300", "trainer_state.json")
    assert (finding.severity, finding.blocks_resume) == (Severity.ERROR, True)
    assert report(run).resume_from == "checkpoint-200"


def test_text_after_the_end_is_found(run: str) -> None:
    with open(f"{run}/checkpoint-200/trainer_state.json", "a", encoding="utf-8") as file:
        file.write('"step": 200}')

    assert [finding.checkpoint for finding in check(run, RULE)] == ["checkpoint-200"]


def test_a_cut_adapter_configuration_blocks(run: str) -> None:
    os.truncate(f"{run}/checkpoint-300/adapter_config.json", 100)

    (finding,) = check(run, RULE)

    assert finding.blocks_resume


def test_a_cut_tokenizer_is_an_error_that_does_not_block(run: str) -> None:
    Path(run, "checkpoint-300", "tokenizer.json").write_text('{"model": {"vocab": {"a"', encoding="utf-8")

    (finding,) = check(run, RULE)

    assert (finding.severity, finding.blocks_resume) == (Severity.ERROR, False)


def test_a_file_that_no_known_program_wrote_gives_a_warning(run: str) -> None:
    Path(run, "checkpoint-300", "predictions.json").write_text('{"a": 1}\n{"a": 2}\n', encoding="utf-8")

    (finding,) = check(run, RULE)

    assert (finding.severity, finding.blocks_resume) == (Severity.WARNING, False)


def test_nan_and_infinity_as_bare_words_are_legal(run: str) -> None:
    def overflow(history: list[dict[str, float]]) -> list[dict[str, float]]:
        return [*history[:-1], {**history[-1], "grad_norm": float("nan")}]

    edit_state(f"{run}/checkpoint-300", log_history=overflow)

    assert "NaN" in Path(run, "checkpoint-300", "trainer_state.json").read_text(encoding="utf-8")
    assert outcome(run, RULE, "checkpoint-300").outcome is Outcome.PASS


def test_an_empty_file_is_the_finding_of_another_rule(run: str) -> None:
    os.truncate(f"{run}/checkpoint-300/adapter_config.json", 0)

    assert check(run, RULE) == []


def test_an_adapter_configuration_that_is_no_object_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (tmp_path / "checkpoint-200/adapter_config.json").write_text("[]")

    (finding,) = check(run, "integrity/json")

    assert (finding.checkpoint, finding.message) == ("checkpoint-200", "adapter_config.json is not a JSON object")
