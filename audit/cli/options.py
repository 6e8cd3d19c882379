"""The options that commands share, in one table, and how they are laid over the configuration file.

A new one is a row of :data:`SHARED`: the commands it names take it, and its value reaches a field of Options.
"""

import argparse
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from audit.cli.registered import BACKENDS, Registered
from audit.cli.values import share, whole
from audit.config import check_names, find, read, severity_or_never
from audit.errors import ConfigError
from audit.manager import Registry
from audit.options import Options

JUDGING = ("verify", "report", "guard", "quarantine")
"""Commands that judge as they are asked to."""
PROVING = ("seal", "snapshot", "prune", "merge")
"""Commands that judge by every rule and every byte, and record it: there is nothing to choose."""


LOCAL_RUN = "output directory of a trainer, which holds checkpoint-N directories"
RUN = f"{LOCAL_RUN}; or its URL (s3://, gs://, az://, hf://)"
RUN_OR_CHECKPOINT = f"{RUN}; or one checkpoint-N"
CHECKPOINT_OR_RUN = "a checkpoint-N directory; or a run, for its newest one"
"""Help of the positional arguments."""


class Shared(NamedTuple):
    """An option: its flag, the ``commands`` that take it, and further arguments of ``add_argument``.

    ``field`` of Options gets ``convert(value, options)``; an option that is not given leaves the configuration's value.
    """

    flag: str
    field: str
    commands: tuple[str, ...]
    convert: Callable[[Any, Options], Any]
    argument: Mapping[str, Any]

    @property
    def dest(self) -> str:
        """Return the attribute that argparse stores the value in."""
        return self.flag.lstrip("-").replace("-", "_")


def _as_given(value: Any, _: Options) -> Any:
    return value


def _names(values: list[str], _: Options) -> tuple[str, ...]:
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


SHARED = (
    Shared(
        "--fail-on",
        "fail_on",
        ("verify", "fleet"),
        lambda value, _: severity_or_never(value),
        {
            "choices": ("error", "warning", "never"),
            "help": "minimum severity that fails with exit code 1 (default: error)",
        },
    ),
    Shared(
        "--allow-empty",
        "allow_empty",
        ("verify", "report", "fleet"),
        _as_given,
        {"action": "store_true", "help": "accept a run that has no checkpoint yet"},
    ),
    Shared(
        "--depth",
        "depth",
        JUDGING,
        _as_given,
        {"choices": ("quick", "full"), "help": "quick: file structure only; full: read every byte (default)"},
    ),
    Shared(
        "--select",
        "select",
        (*JUDGING, "fleet"),
        _names,
        {
            "action": "append",
            "metavar": "RULES",
            "help": "apply only these rules or families of rules, separated by commas; audit rules lists them",
        },
    ),
    Shared(
        "--ignore",
        "ignore",
        (*JUDGING, "fleet"),
        lambda values, options: options.ignore + _names(values, options),
        {
            "action": "append",
            "metavar": "RULES",
            "help": "do not apply these rules or families of rules, separated by commas",
        },
    ),
    Shared(
        "--jobs",
        "jobs",
        JUDGING + PROVING,
        _as_given,
        {
            "type": whole("a number from 1 to 256", 1, 256),
            "metavar": "N",
            "help": "threads that read files (default: number of cores, at most 8)",
        },
    ),
    Shared(
        "--backend",
        "backend",
        (*JUDGING, *PROVING, "fleet"),
        _as_given,
        {
            "action": Registered,
            "of": BACKENDS,
            "metavar": "NAME",
            "help": "trainer that wrote the run: {names} (default: detected)",
        },
    ),
    Shared(
        "--no-ledger",
        "ledger",
        JUDGING,
        lambda *_: False,
        {"action": "store_true", "help": "do not record this verification in RUN/.audit/ledger.db"},
    ),
    Shared(
        "--ledger",
        "ledger_dir",
        ("verify", "report", "guard", "seal"),
        _as_given,
        {
            "metavar": "DIR",
            "help": "of a run behind a URL: keep its ledger below DIR (default: ~/.local/state/checkpoint-audit/runs)",
        },
    ),
    Shared(
        "--no-cache",
        "cache",
        (*JUDGING, *PROVING, "fleet"),
        lambda *_: False,
        {
            "action": "store_true",
            "help": "read every file again, even if it has not changed since it was last verified",
        },
    ),
    Shared(
        "--scrub",
        "scrub",
        ("verify",),
        _as_given,
        {
            "type": share,
            "metavar": "SHARE",
            "help": "of files that have not changed since they were verified, read this share again, such as 10%%; "
            "those read longest ago come first",
        },
    ),
)


def add_shared(parser: argparse.ArgumentParser, command: str, result: str = "") -> None:
    """Add the shared options of a command; ``result`` is what it prints with ``-q``, too."""
    for option in SHARED:
        if command in option.commands:
            parser.add_argument(option.flag, **{"default": None, **option.argument})
    parser.add_argument(
        "--config", metavar="FILE", help="configuration file (default: the nearest audit.toml or pyproject.toml)"
    )
    add_quiet(parser, result)


def add_quiet(parser: argparse.ArgumentParser, result: str = "") -> None:
    """Add ``-q``, which means the same everywhere: ``result``, such as a verdict, and what went wrong; no progress."""
    said = f"{result} and what went wrong" if result else "what went wrong"
    parser.add_argument("-q", "--quiet", action="count", default=0, help=f"print only {said}")


def add_training(parser: argparse.ArgumentParser) -> None:
    """Add what ``audit train`` and ``audit plan`` are told alike."""
    parser.add_argument(
        "--decay",
        action="store_true",
        help="the waiting files are the last ones: end the learning-rate schedule with them",
    )
    parser.add_argument("--allow-fresh", action="store_true", help="start over at step 0 if nothing can be resumed")
    parser.add_argument(
        "--skip-lost", action="store_true", help="after a rollback, continue without data files that no longer exist"
    )


def options_of(arguments: argparse.Namespace, registry: Registry) -> Options:
    """Return the options: defaults, then the configuration file, then the command line. Raises ConfigError."""
    return laid_over(configured(registry, arguments.config), arguments, registry)


def laid_over(options: Options, arguments: argparse.Namespace, registry: Registry) -> Options:
    """Return the options of a configuration with those of the command line over them. Raises ConfigError."""
    for option in SHARED:
        value = getattr(arguments, option.dest, None)
        if value is not None:
            options = options._replace(**{option.field: option.convert(value, options)})
    check_names(options, registry, "command line")
    if not options.select and not options.ignore:
        return options
    chosen = options.chosen(registry.rules)
    if not chosen:
        raise ConfigError("every selected rule is ignored, so there is nothing to check")
    if all(rule.scope == "plan" for rule in chosen):
        raise ConfigError("the selected rules check plans, not checkpoints; use audit plan")
    return options


def add_ledger(parser: argparse.ArgumentParser) -> None:
    """Add ``--ledger`` to a command that shows what is recorded, and records nothing."""
    option = next(option for option in SHARED if option.flag == "--ledger")
    parser.add_argument(option.flag, default=None, metavar="DIR", help="of a run behind a URL: its ledger is below DIR")


def viewing(arguments: argparse.Namespace, registry: Registry) -> Options:
    """Return the options of a command that shows what is recorded: those of the nearest configuration file."""
    return configured(registry)._replace(ledger_dir=arguments.ledger)


def configured(registry: Registry, path: str | None = None) -> Options:
    """Return the options of a configuration file, by default the nearest one. Raises ConfigError."""
    path = path or find()
    return read(path, registry) if path else Options()
