import os
from pathlib import Path

import pytest

from audit.findings import Outcome, Severity
from audit.testing.arguments import training_args_bytes
from audit.testing.judging import check, outcome
from audit.testing.runs import edit_arguments, make_run
from audit.testing.torch_files import Made, Name

RULE = "security/unsafe-arguments"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return Path(make_run(tmp_path / "run", (100,)), "checkpoint-100")


def run_of(checkpoint: Path) -> str:
    return str(checkpoint.parent)


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "posix.system",
        "subprocess.Popen",
        "builtins.eval",
        "__builtin__.exec",
        "builtins.__import__",
        "importlib.import_module",
        "transformers.utils.subprocess.Popen",
        "transformers.utils.os.system",
        "payload.run",
        "payload.Payload",
        "code.InteractiveConsole",
        "torch.hub.load",
    ],
)
def test_what_is_no_class_of_settings_is_named(checkpoint: Path, name: str) -> None:
    edit_arguments(checkpoint, extra=Made(name, ("true",)))

    (finding,) = check(run_of(checkpoint), RULE)

    assert (finding.severity, finding.blocks_resume) == (Severity.WARNING, False)
    assert finding.message.startswith(f"training_args.bin names {name},")


@pytest.mark.parametrize(
    "name",
    [
        "UnslothSFTTrainer.UnslothSFTConfig",
        "trl.trainer.grpo_config.GRPOConfig",
        "common.config.Config",
        "vllm.sampling_params.SamplingParams",
        "accelerate.utils.dataclasses.DeepSpeedPlugin",
        "torch.bfloat16",
        "__builtin__.set",
        "collections.OrderedDict",
        "datetime.timedelta",
        "pathlib.PosixPath",
        "_codecs.encode",
        "numpy._core.multiarray.scalar",
        "torch.distributed.fsdp.wrap.transformer_auto_wrap_policy",
    ],
)
def test_what_trainers_write_is_known(checkpoint: Path, name: str) -> None:
    edit_arguments(checkpoint, extra=Made(name, ("x",)))

    assert outcome(run_of(checkpoint), RULE, "checkpoint-100").outcome is Outcome.PASS


def test_the_class_of_the_arguments_may_have_any_name(checkpoint: Path) -> None:
    (checkpoint / "training_args.bin").write_bytes(training_args_bytes("__main__.Mine"))

    assert check(run_of(checkpoint), RULE) == []


def test_getattr_that_fetches_a_member_of_an_enum_is_legal(checkpoint: Path) -> None:
    enum = Name("transformers.trainer_utils.IntervalStrategy")
    edit_arguments(checkpoint, save_strategy=Made("__builtin__.getattr", (enum, "STEPS")))

    assert check(run_of(checkpoint), RULE) == []


@pytest.mark.parametrize("holder", ["os.path", "payload.module"])
def test_getattr_of_anything_else_is_not(checkpoint: Path, holder: str) -> None:
    edit_arguments(checkpoint, save_strategy=Made("builtins.getattr", (Name(holder), "system")))

    (finding,) = check(run_of(checkpoint), RULE)

    assert "builtins.getattr" in str(finding.actual)


@pytest.mark.parametrize("arguments", [("text", "upper"), ("text", 1), (Name("torch.dtype"), 1), ("text",)])
def test_getattr_of_what_is_no_class_at_all_is_not(checkpoint: Path, arguments: tuple[object, ...]) -> None:
    edit_arguments(checkpoint, extra=Made("builtins.getattr", arguments))

    assert len(check(run_of(checkpoint), RULE)) == 1


def test_of_many_names_ten_are_given(checkpoint: Path) -> None:
    edit_arguments(checkpoint, extra=[Made(f"payload{number}.run", ()) for number in range(12)])

    (finding,) = check(run_of(checkpoint), RULE)

    assert "and 11 more, which" in finding.message
    assert len(str(finding.actual).split(", ")) == 10


def test_getattr_that_is_only_named_is_not_legal(checkpoint: Path) -> None:
    edit_arguments(checkpoint, extra=Name("builtins.getattr"))

    assert len(check(run_of(checkpoint), RULE)) == 1


def test_a_damaged_file_that_runs_code_before_the_damage_is_found(checkpoint: Path) -> None:
    (checkpoint / "training_args.bin").write_bytes(b"cos\nsystem\n(S'true'\ntR\xff\xff")

    (finding,) = check(run_of(checkpoint), RULE)

    assert "os.system" in finding.message


def test_a_file_that_is_only_cut_off_is_the_finding_of_another_rule(checkpoint: Path) -> None:
    os.truncate(checkpoint / "training_args.bin", 1000)

    assert outcome(run_of(checkpoint), RULE, "checkpoint-100").outcome is Outcome.NOT_APPLICABLE


def test_arguments_as_json_text_name_nothing(checkpoint: Path) -> None:
    (checkpoint / "training_args.bin").write_text('{"output_dir": "out"}', encoding="utf-8")

    assert check(run_of(checkpoint), RULE) == []
