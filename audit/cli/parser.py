"""What all subcommands share: the parser, errors in one line, exit codes, the terminal."""

import argparse
import os
import sys
from collections.abc import Callable, Container, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any, NoReturn

from audit.backend.names import checkpoint_around
from audit.cli.registered import fill_in
from audit.errors import AuditError, PluginError
from audit.storage import scheme_of, without_secrets

# argparse asks gettext for translations that exist nowhere, and so imports locale, 2 ms of a start-up.
argparse._ = str  # type: ignore[attr-defined]

GROUPS = {"verify": "check", "guard": "resume", "init": "train", "watch": "look", "seal": "keep", "rules": "learn"}
"""The first command of each task, and the task: headings of ``audit --help``."""
BROKEN_PIPE = 141
SHELLS = ("bash", "zsh", "tcsh", "fish")


class Formatter(argparse.HelpFormatter):
    """argparse's formatter, made for every argument: its own way to the width imports shutil, 2 ms of a start-up."""

    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog, **{"width": columns() - 2, **options})


class ExamplesFormatter(argparse.RawDescriptionHelpFormatter, Formatter):
    """Leaves the lines of the examples as they are."""


class Parser(argparse.ArgumentParser):
    """argparse, but a usage error is one line, and options may come anywhere among the names."""

    _mixing = False
    tasks: Mapping[str, str] = {}
    """Headings in the list of commands: the first command of each, and the heading."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": Formatter, "allow_abbrev": False, **options})

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """Take ``audit quarantine RUN --dry-run NAME`` too: argparse stops looking for names at the first option.

        Its remedy, ``parse_known_intermixed_args``, calls this method in turn, does not support subcommands, and
        forgets what ``--`` means (CPython 3.11). It parses twice and writes the whole usage first, so it is left out
        where there is nothing to mix.
        """
        taking_all = {argparse.PARSER, argparse.REMAINDER}
        greedy = any(action.nargs in taking_all for action in self._actions if not action.option_strings)
        options = any(argument.startswith("-") for argument in args or ())
        if self._mixing or greedy or not options or "--" in (args or ()):
            return super().parse_known_args(args, namespace)
        self._mixing = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixing = False

    def format_help(self) -> str:
        """Return the help, with the names that the installed plugins bring."""
        fill_in(self)
        text = super().format_help()
        for first, task in self.tasks.items():
            text = text.replace(f"\n    {first} ", f"\n  {task}:\n    {first} ", 1)
        return text

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {one_line(message)}{self._nearest(message)}; see {self.prog} --help\n")

    def _nearest(self, message: str) -> str:
        """Return ``; did you mean ...?`` for an option, a command or a choice that does not exist."""
        from audit.text import did_you_mean

        kind, colon, rest = message.partition(": ")
        if colon and kind == "unrecognized arguments":
            options = [option[2:] for action in self._actions for option in action.option_strings if len(option) > 2]
            wrong = [word.partition("=")[0] for word in rest.split() if word.startswith("--")]
            return did_you_mean(wrong[0][2:], options, "--") if wrong else ""
        found = rest.partition("invalid choice: ")[2]
        for action in self._actions:
            if found and action.choices and argparse._get_action_name(action) == kind.removeprefix("argument "):  # noqa: SLF001
                return did_you_mean(found.split("'")[1] if "'" in found else "", map(str, action.choices))
        return ""


More = Callable[[Mapping[str, str]], tuple[Mapping[str, str], Mapping[str, Any]]]
"""Returns all commands, given those of this package, and the modules of the others. Raises PluginError."""


def dispatch(arguments: Sequence[str], commands: Mapping[str, str], more: More | None = None) -> int:
    """Parse, import the one command that was asked for, run it; every expected error is one line and exit code 2.

    ``more`` brings the commands of plugins; it is called only if the first argument is no command of this package.
    """
    try:
        commands, modules = _found(arguments, commands, more)
        wanted = next((argument for argument in arguments if argument in commands), "")
        asked = {wanted: commands[wanted]} if wanted and wanted == arguments[0] else commands  # the others only by name
        parser = build(asked, {wanted}, modules)
    except PluginError as error:
        return _refused("audit", error)
    parsed = _parsed(parser, list(arguments))
    if parsed.version:
        parsed.call, parsed.command = _version, "--version"
    elif parsed.print_completion:
        parsed.call, parsed.command = partial(_print_completion, commands, modules), "--print-completion"
    elif parsed.command is None:
        parser.print_help()
        return 2
    try:
        _check_directory()
        code: int = parsed.call(parsed)
        if sys.stdout is not None:  # None: it was closed by whoever called
            sys.stdout.flush()
        return code
    except AuditError as error:
        return _refused(f"audit {parsed.command}", error)
    except MemoryError:
        print(f"audit {parsed.command}: out of memory; audit fewer runs at once, or use --jobs 1", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe went away: `audit rules | head`
        drop_stdout()
        return BROKEN_PIPE
    except OSError as error:  # a file that has a name, or our output
        what = error.strerror or str(error)
        if isinstance(error.filename, str | bytes):
            what = f"{os.fsdecode(error.filename)}: {what}"
        else:
            drop_stdout()
            what = f"cannot write: {what}"
        print(f"audit {parsed.command}: {one_line(what)}", file=sys.stderr)
        return 2
    except Exception as error:  # a bug of ours: one line, the traceback on request
        if os.environ.get("AUDIT_TRACEBACK"):
            raise
        name = f"{type(error).__name__}: {error}"
        print(
            f"audit {parsed.command}: internal error, please report it: {one_line(name)} "
            "(set AUDIT_TRACEBACK=1 to see where)",
            file=sys.stderr,
        )
        return 2


def _found(
    arguments: Sequence[str], commands: Mapping[str, str], more: More | None
) -> tuple[Mapping[str, str], Mapping[str, Any]]:
    """The commands that may be meant, and the modules of those that plugins bring. Raises PluginError."""
    if more is None or (arguments and (arguments[0] in commands or arguments[0] in ("-V", "--version"))):
        return commands, {}
    try:
        return more(commands)
    except PluginError:
        if arguments and not arguments[0].startswith("-"):
            raise
        return commands, {}  # there is help, with the other commands in it


def _parsed(parser: Parser, arguments: list[str]) -> argparse.Namespace:
    """Parse; of an argument too many the command says so, which knows what it takes."""
    parsed: argparse.Namespace
    parsed, extra = parser.parse_known_args(arguments)  # type: ignore[no-untyped-call]
    if extra:
        commands = next(action.choices for action in parser._actions if action.dest == "command")  # noqa: SLF001
        dict(commands or {}).get(parsed.command, parser).error(f"unrecognized arguments: {' '.join(extra)}")
    return parsed


def _check_directory() -> None:
    """Raise AuditError if the working directory was deleted: no relative path means anything then."""
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise AuditError("the working directory was deleted; change to one that exists") from error


def build(commands: Mapping[str, str], wanted: Container[str], modules: Mapping[str, Any] | None = None) -> Parser:
    """Return the parser of all commands, of which only the ``wanted`` ones have their arguments.

    A command's module is imported for its arguments, and only one of them is called; ``modules``: those of plugins.
    """
    parser = Parser(
        prog="audit",
        description="Check whether the checkpoints of a training run can be trusted.",
        epilog="Exit codes: 0 success, 1 violations or refused, 2 the audit could not be done. "
        "For examples of a command: audit COMMAND --help.",
    )
    parser.tasks = GROUPS
    parser.add_argument("-V", "--version", action="store_true", help="print the version and exit")
    parser.add_argument("--print-completion", choices=SHELLS, help="print a script that completes commands and options")
    subparsers = parser.add_subparsers(
        dest="command", metavar="COMMAND", title="commands", description="", parser_class=Parser
    )
    for name, help_text in commands.items():
        added = subparsers.add_parser(name, help=help_text, description=_sentence(help_text))
        if name in wanted:
            module = modules[name] if modules and name in modules else import_module(f"audit.cli.{name}")
            module.configure(added)
            added.set_defaults(call=module.call)
            added.formatter_class = ExamplesFormatter
            added.epilog = _examples(getattr(module, "EXAMPLES", ()))
    return parser


def columns() -> int:
    """Return the width of the terminal, as ``shutil.get_terminal_size`` finds it."""
    named = os.environ.get("COLUMNS", "")
    if named.isascii() and named.isdigit() and int(named) > 0:
        return int(named)
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or 80  # type: ignore[union-attr]
    except (AttributeError, ValueError, OSError):  # closed, replaced, or no terminal
        return 80


def _examples(examples: Sequence[tuple[str, str]]) -> str | None:
    """The end of a command's help: its ``EXAMPLES``, each a command line and what it does."""
    if not examples:
        return None
    return "examples:\n" + "".join(f"  {line}\n      {meaning}\n" for line, meaning in examples)


def _print_completion(commands: Mapping[str, str], modules: Mapping[str, Any], arguments: argparse.Namespace) -> int:
    from audit.cli.completion import script

    write(script(build(commands, commands, modules), arguments.print_completion), None)
    return 0


def _version(_: argparse.Namespace) -> int:
    from audit.version import __version__

    print(f"checkpoint-audit {__version__}")
    return 0


def complain(command: str, error: AuditError) -> None:
    """Print in one line on stderr why something could not be done."""
    _refused(f"audit {command}", error)


def _refused(program: str, error: AuditError) -> int:
    print(f"{program}: {one_line(str(error))}", file=sys.stderr)
    return 2


def drop_stdout() -> None:
    """Discard what is still to be written: Python would report the error again when it exits."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + ("" if text.endswith("?") else ".")


def one_line(text: str) -> str:
    """Return text for a terminal: no line ends, no control characters."""
    from audit.reporters.words import printable
    from audit.text import veiled

    return printable(veiled(" ".join(text.splitlines())))


def use_color(stream: object) -> bool:
    """Colour on a terminal only; NO_COLOR (no-color.org), TERM=dumb and CI switch it off."""
    environment = os.environ
    if environment.get("NO_COLOR") or environment.get("CI") or environment.get("TERM") == "dumb":
        return False
    return bool(getattr(stream, "isatty", lambda: False)())


def write(text: str, output: str | None) -> None:
    """Print, or write to ``--output FILE``. Raises AuditError if the file cannot be written."""
    if output is None:
        if sys.stdout is None:
            raise AuditError("standard output is closed; name a file with --output")
        try:
            sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            drop_stdout()
            raise AuditError(f"the report cannot be written: {error.strerror or error}") from error
        return
    if scheme_of(output) is not None:
        raise AuditError(
            f"--output {without_secrets(output)}: is a URL; name a file of this machine, and copy it there"
        )
    if checkpoint_around(os.path.dirname(os.path.realpath(output))) is not None:
        raise AuditError(
            f"--output {output}: is inside a checkpoint, and nothing is written there; choose another place"
        )
    try:
        with open(output, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as error:
        raise AuditError(f"--output {output}: cannot be written: {error.strerror or error}") from error
