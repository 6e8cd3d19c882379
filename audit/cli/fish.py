"""Completion for fish, which shtab does not write: a line for each command and option."""

import argparse
from collections.abc import Container, Iterator

_HEAD = """\
# Completion of audit for fish; written by audit --print-completion fish
function __audit_in
    set -l words (commandline -opc)
    test (count $words) -gt 1; and test $words[2] = $argv[1]
end
function __audit_first
    test (count (commandline -opc)) -eq 1
end
complete -c audit -f
"""
_DIRECTORIES = "(__fish_complete_directories)"


def fish(parser: argparse.ArgumentParser, directories: Container[object], files: Container[object]) -> str:
    """Return the script for a parser whose commands all know their arguments and the values of those.

    Of an argument whose metavar is in ``directories`` or ``files``, fish completes the value from the file system.
    """
    lines = list(_of(parser, "__audit_first", directories, files))
    for action in parser._actions:  # noqa: SLF001  argparse has no other way to walk a parser
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            helps = {choice.dest: choice.help for choice in action._choices_actions}  # noqa: SLF001
            for name, command in action.choices.items():
                lines.append(f"complete -c audit -n __audit_first -a {name} -d {_quoted(helps.get(name) or '')}")
                lines += _of(command, _quoted(f"__audit_in {name}"), directories, files)
                lines += _of_actions(command, name, directories, files)
    return _HEAD + "\n".join(lines) + "\n"


def _of_actions(
    command: argparse.ArgumentParser, name: str, directories: Container[object], files: Container[object]
) -> Iterator[str]:
    """The lines of a command that has actions, such as ``push`` of ``audit hub push``."""
    for action in command._actions:  # noqa: SLF001
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            helps = {choice.dest: choice.help for choice in action._choices_actions}  # noqa: SLF001
            for choice, parser in action.choices.items():
                when = _quoted(f"__audit_in {name}; and test (count (commandline -opc)) -eq 2")
                yield f"complete -c audit -n {when} -a {choice} -d {_quoted(helps.get(choice) or '')}"
                inside = f"__audit_in {name}; and contains -- {choice} (commandline -opc)"
                yield from _of(parser, _quoted(inside), directories, files)


def _of(
    parser: argparse.ArgumentParser, when: str, directories: Container[object], files: Container[object]
) -> Iterator[str]:
    """The lines of one parser's arguments, which hold ``when`` a condition of fish is true."""
    for action in parser._actions:  # noqa: SLF001
        if isinstance(action, argparse._SubParsersAction) or action.help == argparse.SUPPRESS:  # noqa: SLF001
            continue
        names = "".join(
            f" -{'l' if name.startswith('--') else 's'} {name.lstrip('-')}" for name in action.option_strings
        )
        values = _values(action, directories, files) if action.nargs != 0 else ""
        if not names and not values:
            continue
        alone = " -r" if names and values.endswith("-F") else " -x" if names and action.nargs != 0 else ""
        shown = parser._get_formatter()._expand_help(action) if action.help else ""  # noqa: SLF001
        about = f" -d {_quoted(shown)}" if names and shown else ""
        yield f"complete -c audit -n {when}{names}{alone}{values}{about}"


def _values(action: argparse.Action, directories: Container[object], files: Container[object]) -> str:
    if action.choices:
        return f" -a {_quoted(' '.join(map(str, action.choices)))}"
    if action.metavar in directories:
        return f" -a {_quoted(_DIRECTORIES)}"
    return " -F" if action.metavar in files else ""


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
