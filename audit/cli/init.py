"""``audit init [FILE]``: write a first configuration of ``audit train``."""

import argparse
import os
import sys
from typing import NamedTuple

from audit.cli.parser import complain, one_line
from audit.errors import AuditError, ConfigError
from audit.manager import Registry, load
from audit.training.config import read_train_config
from audit.training.starting import starting_config

EXAMPLES = (
    ("audit init", "ask for model, run and inbox, then write train.toml"),
    ("audit init --model org/base-model", "ask nothing: a LoRA adapter for this model, trained into current_model/"),
    ("audit init full.toml --model ./base --full-fine-tune", "train the whole model"),
)
RUN, INBOX = "current_model", "inbox"
BACKEND = "hf-trainer"


class _Answers(NamedTuple):
    """What is asked for: paths as the user wrote them."""

    model: str
    run: str
    inbox: str
    whole_model: bool


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "file",
        nargs="?",
        default="train.toml",
        metavar="FILE",
        help="the file to write, which must not exist yet (default: train.toml)",
    )
    parser.add_argument("--model", metavar="MODEL", help="base model: a directory, or a name on the Hub")
    parser.add_argument("--run", metavar="DIR", help=f"directory of the run (default: {RUN}, beside FILE)")
    parser.add_argument("--inbox", metavar="DIR", help=f"directory for data files (default: {INBOX}, beside FILE)")
    parser.add_argument("--full-fine-tune", action="store_true", help="train the whole model instead of a LoRA adapter")


def call(arguments: argparse.Namespace) -> int:
    """Write the file and make the inbox; ask on a terminal for what is missing. Nothing is overwritten."""
    path = arguments.file
    if os.path.lexists(path):
        raise AuditError(f"{path}: is already there, and is not overwritten; name another file")
    registry = load()
    answers = _answers(arguments)
    home = os.path.dirname(os.path.abspath(path))
    run, inbox = (_beside(home, given, name) for given, name in ((answers.run, RUN), (answers.inbox, INBOX)))
    text = starting_config(
        os.path.basename(path),
        run,
        inbox,
        _model(home, answers.model),
        answers.whole_model,
        registry.trainer(BACKEND),
        registry.observers,
    )
    _write_new(path, text)
    there = os.path.normpath(os.path.join(home, os.path.expanduser(inbox)))
    try:
        _check(path, registry)
        os.makedirs(there, exist_ok=True)
    except (ConfigError, OSError):
        os.remove(path)
        raise
    print(one_line(f"{path}: written; every key is explained in it"))
    print(one_line(f"next: put data files into {os.path.relpath(there)}, then: audit plan {path}"))
    return 0


def _check(path: str, registry: Registry) -> None:
    """Read the file as audit train does. Raises ConfigError for a value that it would refuse."""
    try:
        read_train_config(path, registry)
    except ConfigError:
        raise
    except AuditError as error:  # the libraries of the trainer are not installed
        complain("init", AuditError(f"note: {path} is not checked: {error}"))


def _answers(arguments: argparse.Namespace) -> _Answers:
    """What the options say; if the model is missing, what the user answers on the terminal."""
    if arguments.model is not None:
        return _Answers(arguments.model, arguments.run or "", arguments.inbox or "", arguments.full_fine_tune)
    if sys.stdin is None or not sys.stdin.isatty():
        raise AuditError("--model is missing: name the base model, a directory or a name on the Hub")
    model = ""
    while not model:
        model = _ask("Base model (a directory, or a name on the Hub): ")
    run = arguments.run or _ask(f"Directory of the run [{RUN}]: ")
    inbox = arguments.inbox or _ask(f"Directory for data files [{INBOX}]: ")
    whole = arguments.full_fine_tune or _ask("Train a LoRA adapter or the whole model? [lora/whole]: ", "lora", "whole")
    return _Answers(model, run, inbox, whole in (True, "whole"))


def _ask(question: str, *choices: str) -> str:
    """Return the answer without spaces around it; of ``choices`` the first is the default."""
    while True:
        print(question, end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            raise AuditError("no answer; give --model, and nothing is asked")
        answer = line.strip()
        if not choices:
            return answer
        found = [choice for choice in choices if choice.startswith(answer.lower() or choices[0])]
        if found:
            return found[0]


def _beside(home: str, given: str, default: str) -> str:
    """A directory as the configuration names it: relative to itself, wherever the command was called."""
    if not given:
        return default
    if given.startswith("~") or os.path.isabs(given):
        return given
    return os.path.relpath(os.path.abspath(given), home)


def _model(home: str, given: str) -> str:
    """The model as the configuration names it: a path if there is such a directory here or it looks like a path."""
    if not given.strip():
        raise ConfigError("--model: is empty; name the base model, a directory or a name on the Hub")
    if os.path.isdir(given):
        path = given if os.path.isabs(given) else os.path.relpath(os.path.abspath(given), home)
        return path if path.startswith(("/", "../")) else f"./{path}"
    if given.startswith(("/", "./", "../", "~")):
        if os.path.isdir(os.path.expanduser(given)):
            return given
        raise ConfigError(f"--model {given}: there is no directory {os.path.abspath(os.path.expanduser(given))}")
    return given


def _write_new(path: str, text: str) -> None:
    """Write a file that is not there yet. Raises OSError; a file that could not be written whole is removed again."""
    with open(path, "x", encoding="utf-8") as file:
        try:
            file.write(text)
            file.flush()
        except OSError:
            os.remove(path)
            raise
