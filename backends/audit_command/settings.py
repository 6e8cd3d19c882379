"""The tables [command] and [arguments]: their schema, and how placeholders are filled in."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from audit.plugin import ConfigError, LegRequest

STOP_SECONDS = 60.0
PREFIX = "AUDIT_"

_WORDS: Mapping[str, Any] = {
    "type": "array",
    "items": {"type": "string", "refuse": "is not a string; write numbers as strings, too: '8'"},
    "refuse": "takes a list of strings, one argument each; no shell is used",
}
SCHEMA: Mapping[str, Mapping[str, Any]] = {
    "command": {
        "type": "object",
        "additionalProperties": False,
        "required": ["argv"],
        "properties": {
            "argv": {**_WORDS, "minItems": 1},
            "resume_argv": _WORDS,
            "env": {"type": "object", "additionalProperties": {"type": "string"}},
            "cwd": {"type": "string", "minLength": 1, "format": "path", "default": "."},
            "examples_per_step": {"type": "integer", "minimum": 1},
            "timeout_seconds": {"type": "number", "exclusiveMinimum": 0},
            "stop_seconds": {"type": "number", "minimum": 0},
        },
    },
    "arguments": {"type": "object"},
}

PLACEHOLDERS = (
    "run", "data", "resume_from", "first_step", "last_step", "steps", "skip_examples", "epochs", "seed", "horizon",
    "decay_steps",
)  # fmt: skip
_PLACEHOLDER = re.compile(r"\{\{([a-z_]+)\}\}|\{([a-z_]+)\}")


class Call(NamedTuple):
    """How the command is started for one leg."""

    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]


def check(settings: Mapping[str, Any]) -> None:
    """Refuse what the schema cannot express. Raises ConfigError that begins with the key."""
    if "command" not in settings:
        raise ConfigError("command: is missing; the backend 'command' needs a table [command] with argv = [\"...\"]")
    table = settings["command"]
    unknown = _unknown(settings)
    for name in ("argv", "resume_argv"):
        for position, text in enumerate(table.get(name, ())):
            _check_text(f"command.{name}.{position}", text, unknown if name == "argv" else _unknown(settings, True))
    if not table["argv"][0].strip():
        raise ConfigError("command.argv.0: is empty; it is the program to start")
    for name, text in table.get("env", {}).items():
        key = f"command.env.{name}"
        if not name or "=" in name or "\0" in name:
            raise ConfigError(f"{key}: is not a valid name of a variable")
        if name.startswith(PREFIX) and name[len(PREFIX) :].lower() in PLACEHOLDERS:
            raise ConfigError(f"{key}: is set by audit train for each leg")
        _check_text(key, text, {})


def _unknown(settings: Mapping[str, Any], resuming: bool = False) -> dict[str, str]:
    """Why a placeholder has no value under these settings, by its name."""
    reasons = {}
    if "examples_per_step" not in settings["command"]:
        for name in ("last_step", "steps"):
            reasons[name] = "needs command.examples_per_step, the number of examples of one step"
    schedule = settings.get("schedule", {})
    for name, key in (("horizon", "total_steps"), ("decay_steps", "decay_steps")):
        if key not in schedule:
            reasons[name] = f"needs {key} in [schedule]"
    if not resuming:
        reasons["resume_from"] = "has no value on a fresh start; put this argument in command.resume_argv"
    return reasons


def _check_text(key: str, text: str, unknown: Mapping[str, str]) -> None:
    from audit.plugin import did_you_mean

    for found in _PLACEHOLDER.finditer(text):
        name = found[2]
        if name is None:
            continue
        if name not in PLACEHOLDERS:
            hint = did_you_mean(name, list(PLACEHOLDERS)) or f"; there are: {', '.join(PLACEHOLDERS)}"
            raise ConfigError(f"{key}: there is no placeholder {{{name}}}{hint}; {{{{{name}}}}} means the text itself")
        if name in unknown:
            raise ConfigError(f"{key}: {{{name}}} {unknown[name]}")


def call_for(request: LegRequest, environment: Mapping[str, str]) -> Call:
    """Fill in the placeholders of one leg. Raises ConfigError if an argument has no value for this leg."""
    table = request.settings["command"]
    values = values_of(request)
    argv = [_fill(text, values, f"command.argv.{at}") for at, text in enumerate(table["argv"])]
    if request.resume_from is not None:
        more = enumerate(table.get("resume_argv", ()))
        argv += [_fill(text, values, f"command.resume_argv.{at}") for at, text in more]
    texts = {name: value or "" for name, value in values.items()}
    own = {name: _fill(text, texts, f"command.env.{name}") for name, text in table.get("env", {}).items()}
    told = {PREFIX + name.upper(): value for name, value in texts.items()}
    return Call(tuple(argv), table.get("cwd", "."), {**environment, **own, **told})


def arguments_of(request: LegRequest) -> Mapping[str, Any] | None:
    """Return the table [arguments] for one leg: ``max_steps = "{last_step}"`` is a number then. None without the table.

    A placeholder without a value in this leg leaves the argument out: it is not known.
    """
    table = request.settings.get("arguments")
    if not table:
        return None
    values, found = values_of(request), {}
    for name, value in table.items():
        if not isinstance(value, str):
            found[name] = value
            continue
        try:
            text = _fill(value, values, name)
        except ConfigError:
            continue
        found[name] = int(text) if text != value and text.isdigit() else text
    return found


def values_of(request: LegRequest) -> dict[str, str | None]:
    """Return the placeholders' values; None for those without one."""
    last = request.last_step
    values = {
        "run": request.run,
        "data": request.data.path,
        "resume_from": request.resume_from,
        "first_step": request.first_step,
        "last_step": last,
        "steps": None if last is None else last - request.first_step,
        "skip_examples": request.data.first,
        "epochs": request.data.epochs,
        "seed": request.seed,
        "horizon": request.horizon,
        "decay_steps": request.decay_steps,
    }
    return {name: None if value is None else str(value) for name, value in values.items()}


def _fill(text: str, values: Mapping[str, str | None], key: str) -> str:
    def value(found: re.Match[str]) -> str:
        if found[1]:
            return f"{{{found[1]}}}"
        filled = values.get(found[2])
        if filled is None:
            raise ConfigError(
                f"{key}: {{{found[2]}}} is not known for this data file: only rows of JSON Lines, JSON lists and Parquet are counted"
            )
        return filled

    return _PLACEHOLDER.sub(value, text)
