"""The first configuration passes, as it is written and with each optional key taken in."""

import re
from pathlib import Path

import pytest

from audit.errors import ConfigError
from audit.manager import Registry, load
from audit.training.config import read_train_config
from audit.training.starting import starting_config

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")
ALONE = {"backend", "lr_scheduler_type", "warmup_steps", "total_steps", "decay_steps"}
"""Keys that ask for others."""


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load()


def config(registry: Registry, whole_model: bool) -> str:
    trainer = registry.trainer("hf-trainer")
    return starting_config("train.toml", "current_model", "inbox", "org/base", whole_model, trainer)


def check(tmp_path: Path, text: str, registry: Registry) -> None:
    (tmp_path / "train.toml").write_text(text)
    read_train_config(str(tmp_path / "train.toml"), registry)


@pytest.mark.parametrize("whole_model", [False, True])
def test_it_is_taken_as_it_is_and_with_every_optional_key(
    tmp_path: Path, registry: Registry, whole_model: bool
) -> None:
    text = config(registry, whole_model)
    check(tmp_path, text, registry)

    def taken_in(found: re.Match[str]) -> str:
        return found[0] if found[1] in ALONE else found[0].removeprefix("# ")

    every = re.sub(r"^# \[?([\w-]+)\]?(?= = |  +#).*$", taken_in, text, flags=re.MULTILINE)
    assert every.count("\n# ") < text.count("\n# ") - 20
    check(tmp_path, every, registry)


@pytest.mark.parametrize(
    "schedule",
    [
        'lr_scheduler_type = "constant_with_warmup"\nwarmup_steps = 100',
        'lr_scheduler_type = "cosine"\n[schedule]\ntotal_steps = 10000',
        'lr_scheduler_type = "warmup_stable_decay"\nwarmup_steps = 100\n[schedule]\ndecay_steps = 500',
    ],
)
def test_the_schedules_that_it_names_are_taken(tmp_path: Path, registry: Registry, schedule: str) -> None:
    head, tail = config(registry, False).split("[schedule]\n")
    check(tmp_path, f"{head}{schedule}\n{tail[tail.index('[guard]') :]}", registry)


def test_a_misspelt_key_would_be_found(tmp_path: Path, registry: Registry) -> None:
    with pytest.raises(ConfigError, match="there is no such key"):
        check(tmp_path, config(registry, False).replace("save_steps", "save_stepz"), registry)
