"""What a configuration for the command backend may say: every slip is one line that names its key."""

from pathlib import Path

import pytest

from audit.backend.training import LegData, LegRequest
from audit.errors import ConfigError
from audit.manager import load
from audit.training.config import TrainConfig, read_train_config
from audit_command.plugin import Command

HEAD = 'run = "model"\nbackend = "command"\n[data]\ninbox = "inbox"\n'


def configured(home: Path, tables: str) -> TrainConfig:
    path = home / "train.toml"
    path.write_text(HEAD + tables)
    return read_train_config(str(path), load())[0]


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ("", "command: is missing; the backend 'command' needs a table [command]"),
        ("[command]\n", "command.argv: is missing"),
        ('[command]\nargv = "python train.py"\n', "command.argv: takes a list of strings, one argument each; no shell"),
        ("[command]\nargv = []\n", "command.argv: takes a list of strings"),
        ('[command]\nargv = ["x", 8]\n', "command.argv.1: is not a string; write numbers as strings, too: '8'"),
        ('[command]\nargv = [" "]\n', "command.argv.0: is empty; it is the program to start"),
        ('[command]\nargv = ["a\\u0000"]\n', "command.argv.0: has a NUL character"),
        ('[command]\nargv = ["x"]\narg = ["y"]\n', "command.arg: there is no such key; did you mean 'argv'"),
        (
            '[command]\nargv = ["x", "{dta}"]\n',
            "command.argv.1: there is no placeholder {dta}; did you mean 'data'?; {{dta}} means the text itself",
        ),
        ('[command]\nargv = ["x", "{zzz}"]\n', "there is no placeholder {zzz}; there are: run, data, resume_from"),
        (
            '[command]\nargv = ["x", "{last_step}"]\n',
            "command.argv.1: {last_step} needs command.examples_per_step",
        ),
        (
            '[command]\nargv = ["x", "--resume={resume_from}"]\n',
            "command.argv.1: {resume_from} has no value on a fresh start; put this argument in command.resume_argv",
        ),
        (
            '[command]\nargv = ["x"]\nresume_argv = ["{horizon}"]\n',
            "command.resume_argv.0: {horizon} needs total_steps in [schedule]",
        ),
        ('[command]\nargv = ["x"]\n[command.env]\nA = 1\n', "command.env.A: 1 is not allowed; it takes a string"),
        ('[command]\nargv = ["x"]\n[command.env]\nAUDIT_RUN = "y"\n', "command.env.AUDIT_RUN: is set by audit train"),
        ('[command]\nargv = ["x"]\n[command.env]\n"A=B" = "y"\n', "command.env.A=B: is not a valid name of a variable"),
        ('[command]\nargv = ["x"]\n[command.env]\nA = "{nope}"\n', "command.env.A: there is no placeholder {nope}"),
        ('[command]\nargv = ["x"]\nexamples_per_step = 0\n', "command.examples_per_step: 0 is less than"),
        ('[command]\nargv = ["x"]\ntimeout_seconds = 0\n', "command.timeout_seconds: 0 is less than"),
        (
            '[command]\nargv = ["x"]\nstop_seconds = "1"\n',
            "command.stop_seconds: '1' is not allowed; it takes a number",
        ),
        ('[command]\nargv = ["x"]\n[model]\nname = "x"\n', "model: there is no such key"),
    ],
)
def test_a_slip_is_named_with_its_key(tmp_path: Path, tables: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(tmp_path, tables)

    assert str(caught.value).startswith(f"{tmp_path}/train.toml: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_everything_that_can_be_set_is_taken(tmp_path: Path) -> None:
    config = configured(
        tmp_path,
        "[schedule]\ntotal_steps = 100\n"
        '[command]\nargv = ["accelerate", "launch", "--config", \'{"a": {"b": 1}}\', "{last_step}", "{horizon}"]\n'
        'resume_argv = ["--resume", "{resume_from}"]\ncwd = "code"\nexamples_per_step = 8\ntimeout_seconds = 3600\n'
        'stop_seconds = 0\n[command.env]\nA = "{run}"\n[arguments]\nsave_steps = 50\n',
    )

    assert config.settings["command"]["cwd"] == str(tmp_path / "code")
    assert config.settings["arguments"] == {"save_steps": 50}
    assert Command().examples_per_step(config.settings, 4) == 8
    assert config.data.patterns == ("*",)


def test_it_runs_beside_the_configuration_unless_told_otherwise(tmp_path: Path) -> None:
    config = configured(tmp_path, '[command]\nargv = ["./train"]\n')

    assert config.settings["command"]["cwd"] == str(tmp_path)
    assert Command().examples_per_step(config.settings, 1) is None


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ("", None),
        ('[arguments]\nmax_steps = "{last_step}"\nsave_steps = 5\n', {"max_steps": 30, "save_steps": 5}),
        ('[arguments]\nrun_name = "leg {first_step}"\nseed = "7"\n', {"run_name": "leg 20", "seed": "7"}),
        ('[arguments]\nresume_from_checkpoint = "{resume_from}"\n', {"resume_from_checkpoint": "m/checkpoint-20"}),
        ('[arguments]\nhorizon = "{horizon}"\nlearning_rate = 1e-4\n', {"learning_rate": 1e-4}),
    ],
)
def test_the_arguments_of_a_leg_are_those_of_the_table_filled_in(
    tmp_path: Path, table: str, found: dict[str, object] | None
) -> None:
    settings = configured(tmp_path, f'[command]\nargv = ["x"]\n{table}').settings
    request = LegRequest("m", "m/checkpoint-20", 20, 30, LegData("a.jsonl"), settings)

    assert Command().arguments(request) == found
