"""The options of a verification on the command line, laid over the configuration file."""

import argparse

from audit.config import check_names, find, read, severity_or_never
from audit.errors import ConfigError
from audit.manager import Registry
from audit.options import Options


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `audit verify`."""
    parser.add_argument(
        "--format", default="console", metavar="FORMAT", help="console (default), github, json, junit or sarif"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write the report to FILE instead of stdout")
    parser.add_argument("--fail-on", choices=("error", "warning", "never"), help="exit 1 from here on (default: error)")
    parser.add_argument("--allow-empty", action="store_true", help="a run without any checkpoint is expected")
    add_judging(parser, quiet="the verdict only")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="also the rules that had nothing to judge")


def add_judging(parser: argparse.ArgumentParser, quiet: str = "no progress bar") -> None:
    """Add the options that every command has which judges a run; ``quiet`` says what `-q` does there."""
    parser.add_argument("--depth", choices=("quick", "full"), help="structure only, or every byte (default)")
    parser.add_argument("--select", action="append", metavar="RULES", help="only these rules or families, by comma")
    parser.add_argument("--ignore", action="append", metavar="RULES", help="leave these rules or families out")
    parser.add_argument(
        "--jobs", type=_positive, metavar="N", help="threads that read files (default: as many as cores, at most 8)"
    )
    parser.add_argument("--backend", metavar="NAME", help="the trainer that wrote the run (default: recognised)")
    parser.add_argument("--config", metavar="FILE", help="configuration (default: audit.toml or pyproject.toml here)")
    parser.add_argument("--no-ledger", action="store_true", help="leave no record of this verification in the run")
    parser.add_argument("--no-cache", action="store_true", help="read unchanged files of sealed checkpoints again, too")
    parser.add_argument("-q", "--quiet", action="count", default=0, help=quiet)


def add_proving(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands that judge by all rules and every byte, and record it: there is nothing to choose."""
    parser.set_defaults(depth=None, select=None, ignore=None, no_ledger=False)
    parser.add_argument(
        "--jobs", type=_positive, metavar="N", help="threads that read files (default: as many as cores, at most 8)"
    )
    parser.add_argument("--backend", metavar="NAME", help="the trainer that wrote the run (default: recognised)")
    parser.add_argument("--config", metavar="FILE", help="configuration (default: audit.toml or pyproject.toml here)")
    parser.add_argument("--no-cache", action="store_true", help="read unchanged files of sealed checkpoints again, too")
    parser.add_argument("-q", "--quiet", action="count", default=0, help="no output but errors")


def options_of(arguments: argparse.Namespace, registry: Registry) -> Options:
    """Return the options: defaults, then the configuration file, then the command line. Raises ConfigError."""
    path = arguments.config or find()
    return laid_over(read(path, registry) if path else Options(), arguments, registry)


def laid_over(options: Options, arguments: argparse.Namespace, registry: Registry) -> Options:
    """Return the options of a configuration with those of the command line over them. Raises ConfigError."""
    if arguments.depth:
        options = options._replace(depth=arguments.depth)
    if arguments.select:
        options = options._replace(select=_names(arguments.select))
    if arguments.ignore:
        options = options._replace(ignore=options.ignore + _names(arguments.ignore))
    if getattr(arguments, "fail_on", None):
        options = options._replace(fail_on=severity_or_never(arguments.fail_on))
    if arguments.jobs:
        options = options._replace(jobs=arguments.jobs)
    if arguments.no_ledger:
        options = options._replace(ledger=False)
    if arguments.no_cache:
        options = options._replace(cache=False)
    if getattr(arguments, "allow_empty", False):
        options = options._replace(allow_empty=True)
    if arguments.backend:
        options = options._replace(backend=arguments.backend)
    check_names(options, registry, "command line")
    chosen = options.chosen(registry.rules)
    if not chosen:
        raise ConfigError("the selected rules are all ignored, so nothing would be judged")
    if all(rule.scope == "plan" for rule in chosen):
        raise ConfigError("the selected rules judge plans, not checkpoints, so nothing would be judged: see audit plan")
    return options


def configured(registry: Registry) -> Options:
    """Return the options of the configuration file, for commands that have none of their own. Raises ConfigError."""
    path = find()
    return read(path, registry) if path else Options()


def _names(values: list[str]) -> tuple[str, ...]:
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


def _positive(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 0
    if not 1 <= number <= 256:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 256")
    return number
