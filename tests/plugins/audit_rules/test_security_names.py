"""Which names training arguments may have in them."""

import pytest

from audit_rules.security._names import unknown_in_arguments


@pytest.mark.parametrize(
    ("name", "unknown"),
    [
        ("transformers.training_args.TrainingArguments", False),
        ("__main__.MyArguments", False),
        ("ssl.Options", True),  # of the standard library, whatever it is called
        ("os.system", True),
        ("transformers.utils.subprocess.Popen", True),
        ("commands.TrainConfig", False),  # a module of the user's own
        ("mine.commands.TrainConfig", True),
        ("collections.OrderedDict", False),
        ("torch.distributed.fsdp.wrap.transformer_auto_wrap_policy", False),
        ("numpy._core.multiarray.scalar", False),
        ("numpy.load", True),
        ("numpy.ma.core.MaskedArray", False),
        ("numpy.Generator.load", True),
        ("mine.function", True),
        ("mine.Popen", True),
    ],
)
def test_classes_of_settings_are_known_and_what_runs_code_is_not(name: str, unknown: bool) -> None:
    assert unknown_in_arguments(name) is unknown


def test_the_class_of_the_arguments_itself_is_known() -> None:
    assert not unknown_in_arguments("mine.Popen", root="mine.Popen")
