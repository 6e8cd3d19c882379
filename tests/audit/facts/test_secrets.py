"""Where secrets of a checkpoint are looked for; what they look like is tested with the rule security/secret."""

from pathlib import Path

from audit.facts.checkpoint import Checkpoint
from audit.facts.run import Run, open_run
from audit.testing.judging import registry
from audit.testing.runs import edit_arguments, edit_state, make_run

TOKEN = "hf_" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dF3g"


def opened(run: str) -> Run:
    return open_run(run, registry().backends)


def made(tmp_path: Path) -> Checkpoint:
    return opened(make_run(tmp_path / "run", (100,))).checkpoints[0]


def test_a_checkpoint_without_secrets_has_none(tmp_path: Path) -> None:
    assert made(tmp_path).secrets == ()


def test_arguments_state_and_texts_are_looked_through(tmp_path: Path) -> None:
    made(tmp_path)
    checkpoint = tmp_path / "run" / "checkpoint-100"
    edit_arguments(checkpoint, hub_token=TOKEN)
    edit_state(checkpoint, trial_name=TOKEN)
    (checkpoint / "README.md").write_text(f"token: {TOKEN}")
    (checkpoint / "tokenizer.json").write_text(f'{{"vocabulary": "{TOKEN}"}}')
    (checkpoint / "weights.dat").write_text(TOKEN)

    assert sorted(opened(str(tmp_path / "run")).checkpoints[0].secrets) == [
        ("README.md", "", TOKEN),
        ("trainer_state.json", "", TOKEN),
        ("training_args.bin", ", hub_token", TOKEN),
    ]
