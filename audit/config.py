"""Read ``[tool.audit]`` or ``audit.toml`` into options; the command line wins over it."""

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any

from audit.backend.names import is_checkpoint_file, number_of
from audit.errors import ConfigError
from audit.findings import Acceptance, Severity
from audit.manager import Registry
from audit.options import Options
from audit.text import did_you_mean


def find(directory: str = ".") -> str | None:
    """Return the nearest ``audit.toml``, or ``pyproject.toml`` with a ``[tool.audit]`` table, upwards from here.

    The audited run is not searched: whoever can write a checkpoint must not be able to disable rules.
    """
    here = os.path.abspath(directory)
    while True:
        for name in ("audit.toml", "pyproject.toml"):
            path = os.path.join(here, name)
            if os.path.isfile(path) and (name == "audit.toml" or _mentions_us(path)):
                return path
        parent = os.path.dirname(here)
        if parent == here:
            return None
        here = parent


def _mentions_us(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return b"[tool.audit" in file.read()
    except OSError:
        return False


def read_toml(path: str) -> Mapping[str, Any]:
    """Return a file of TOML. Raises ConfigError, with what to write instead where that is known."""
    import tomllib

    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text: byte {error.start + 1} is not") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}{_instead(str(error), content.decode())}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: is not valid TOML: it is nested too deeply") from error


def _instead(fault: str, text: str) -> str:
    """Return what to write in place of a line that is not TOML, as far as that is clear."""
    place = re.search(r"at line (\d+)", fault)
    lines = text.splitlines()
    line = lines[int(place[1]) - 1].strip() if place is not None and int(place[1]) <= len(lines) else ""
    key, mark, value = (part.strip() for part in line.partition("="))
    if "\\" in line and ("Unescaped" in fault or "escape" in fault):
        return "; a path with \\ is written in single quotes"
    if "Expected '='" in fault and re.match(r"[\w.-]+\s*:", line):
        return f"; write {line.partition(':')[0].strip()} = ..., not a colon"
    if mark and "Invalid value" in fault and value.lower() in ("true", "false"):
        return f"; write {key} = {value.lower()}"
    if mark and "Invalid value" in fault and re.match(r"[^\s\"'\[{#]", value):
        return f'; text is written in quotes: {key} = "{value.partition("#")[0].strip()}"'.replace("\\", "/")
    return ""


def read(path: str, registry: Registry) -> Options:
    """Read a configuration file. Raises ConfigError with the path of the key and what is allowed."""
    document = read_toml(path)
    table: Any = document
    if os.path.basename(path) == "pyproject.toml":
        tools = document.get("tool", {})
        table = tools.get("audit", {}) if isinstance(tools, dict) else {}
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: tool.audit: is not a table; write [tool.audit]")
    return options_of_table(table, registry, path)


def options_of_table(table: Mapping[str, Any], registry: Registry, path: str, key: str = "") -> Options:
    """Make options of a table; ``key`` is its place in the file. Raises ConfigError."""
    where = f"{path}: {key}" if key else path
    schema = _schema()
    if isinstance(table.get("accept"), list):
        table = {**table, "accept": [_with_text(item) for item in table["accept"]]}
    _check_shape(where, table, schema)
    kinds = {name: part.get("type") for name, part in schema["properties"].items()}
    options = Options(**{name.replace("-", "_"): _value(name, value, kinds[name]) for name, value in table.items()})
    check_names(options, registry, where)
    return options


def _value(name: str, value: Any, kind: str | None) -> Any:
    """The value of a key as the field of its name holds it."""
    if name == "fail-on":
        return severity_or_never(value)
    if name == "severity":
        return {rule: Severity(level) for rule, level in value.items()}
    if name == "accept":
        return tuple(_acceptance(item) for item in value)
    kinds: Mapping[str | None, Callable[[Any], Any]] = {"array": tuple, "integer": int, "number": float}
    return kinds[kind](value) if kind in kinds else value  # 2.0 is an integer, too, in JSON Schema


def _with_text(entry: Any) -> Any:
    """An entry of ``accept`` with its date, which TOML may write without quotes, as text."""
    if not isinstance(entry, dict) or type(entry.get("until")) is not date:
        return entry
    return {**entry, "until": entry["until"].isoformat()}


def _acceptance(entry: Mapping[str, Any]) -> Acceptance:
    step = entry.get("step")
    return Acceptance(
        entry["rule"],
        entry.get("checkpoint"),
        None if step is None else int(step),
        " ".join(entry["reason"].split()),
        entry.get("until"),
    )


def severity_or_never(text: str) -> Severity | None:
    """Return the threshold of ``--fail-on``: None for ``never``."""
    return None if text == "never" else Severity(text)


def check_names(options: Options, registry: Registry, where: str) -> None:
    """Refuse names of rules, families and thresholds that do not exist: a typo must not disable a rule."""
    if not (options.select or options.ignore or options.severity or options.rules or options.accept):
        return  # so that the rules need not be loaded
    ids = [rule.id for rule in registry.rules]
    families = sorted({rule.family for rule in registry.rules})
    for key, names in (("select", options.select), ("ignore", options.ignore)):
        for name in names:
            if name not in ids and name not in families:
                raise ConfigError(
                    f"{where}: {key}: no rule or family is named '{name}'{did_you_mean(name, ids + families)}"
                )
    for key, table in (("severity", options.severity), ("rules", options.rules)):
        for name in table:
            if name not in ids:
                raise ConfigError(f"{where}: {key}: no rule is named '{name}'{did_you_mean(name, ids)}")
    _check_accepted(options.accept, registry, where)
    for name, thresholds in options.rules.items():
        allowed = registry.rule(name).options
        for threshold, value in thresholds.items():
            if threshold not in allowed:
                known = ", ".join(sorted(allowed)) or "none"
                hint = did_you_mean(threshold, allowed)
                raise ConfigError(
                    f"{where}: rules.{name}: no threshold is named '{threshold}'; available: {known}{hint}"
                )
            default = allowed[threshold]
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (number if isinstance(default, int | float) else isinstance(value, type(default))):
                raise ConfigError(
                    f"{where}: rules.{name}.{threshold}: {value!r} is not of the type of the default {default!r}"
                )


def _check_accepted(entries: Iterable[Acceptance], registry: Registry, where: str) -> None:
    """Refuse an entry of ``accept`` that could never accept anything."""
    ids = [rule.id for rule in registry.rules]
    for item in entries:
        if item.rule not in ids:
            raise ConfigError(f"{where}: accept: no rule is named '{item.rule}'{did_you_mean(item.rule, ids)}")
        if registry.rule(item.rule).scope == "plan":
            raise ConfigError(
                f"{where}: accept: {item.rule} judges what audit train would do, not a run; change its severity instead"
            )
        if item.checkpoint is not None and item.step is not None:
            raise ConfigError(f"{where}: accept: {item.rule}: give checkpoint or step, not both")
        known = item.checkpoint is None or is_checkpoint_file(item.checkpoint) or number_of(item.checkpoint) is not None
        if not known:
            raise ConfigError(
                f"{where}: accept: {item.rule}: '{item.checkpoint}' is not the name of a checkpoint, such as checkpoint-300"
            )
        if item.until is not None and not _is_date(item.until):
            raise ConfigError(f"{where}: accept: {item.rule}: until: '{item.until}' is not a date such as 2026-12-31")


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _schema() -> Mapping[str, Any]:
    with open(os.path.join(os.path.dirname(__file__), "schemas", "config.json"), encoding="utf-8") as file:
        schema: Mapping[str, Any] = json.load(file)
        return schema


def _check_shape(path: str, table: Any, schema: Mapping[str, Any]) -> None:
    import jsonschema

    validator = jsonschema.Draft202012Validator(schema)
    error = jsonschema.exceptions.best_match(validator.iter_errors(table))
    if error is not None:
        key = ".".join(str(part) for part in error.absolute_path) or "top level"
        raise ConfigError(f"{path}: {key}: {error.message}{_nearest(error)}")


def _nearest(error: Any) -> str:
    """Return ``; did you mean ...?`` if a key or one of a few values does not exist."""
    if error.validator == "additionalProperties" and isinstance(error.schema.get("properties"), dict):
        known = list(error.schema["properties"])
        unknown = [name for name in error.instance if name not in known]
        return did_you_mean(unknown[0], known) if unknown else ""
    if error.validator == "enum" and isinstance(error.instance, str):
        return did_you_mean(error.instance, map(str, error.validator_value))
    return ""
