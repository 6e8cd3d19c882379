"""The configuration of ``audit train``: a TOML file, checked key by key against a JSON Schema.

Paths in it are relative to the file. The core's keys are in ``schemas/train.json``; the backend adds its own
tables ([model], [adapter], [arguments] or [command]).
"""

import fnmatch
import json
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from audit.audit_dir import AUDIT_DIR
from audit.backend.training import TrainingBackend
from audit.config import find, options_of_table, read, read_toml
from audit.errors import AuditError, ConfigError
from audit.judging.decision import Limits
from audit.manager import Registry
from audit.options import Options
from audit.storage import scheme_of, without_secrets
from audit.text import did_you_mean, shortened, veiled
from audit.training.notify_config import Notify, Retry, notify_of, retry_of

KEEP, DELETE = "keep", "delete"
PATTERNS = ("*.jsonl", "*.json", "*.parquet", "*.jsonl.gz", "*.json.gz", "*.jsonl.zst", "*.json.zst")
"""Names of data files, if the backend reads rows; otherwise every file is one."""


class Data(NamedTuple):
    """Where data files come from and go to, and how their rows are read (``options``, for the backend).

    ``group``: files are taken together until they have so many examples, None: one by one; a daemon waits for more
    until the oldest has waited ``group_seconds``. ``replay``: the share of examples of earlier files, 0 for none.
    """

    inbox: str
    done: str
    rejected: str
    after: str
    epochs: int
    shuffle: bool
    patterns: tuple[str, ...]
    options: Mapping[str, Any]
    group: int | None = None
    group_seconds: float = 300.0
    replay: float = 0.0

    def takes(self, name: str) -> bool:
        """Return whether a file of this name is trained."""
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.patterns)


class Watching(NamedTuple):
    """How the daemon waits.

    ``settle_seconds`` without a change until a file counts as complete; ``release_seconds`` without a file until the
    process that trains is ended; ``snapshots``: directory of daily ones, or None.
    """

    settle_seconds: float
    release_seconds: float
    snapshots: str | None


class TrainConfig(NamedTuple):
    """Everything about a continuous training. ``settings`` are the backend's tables, ``verify`` how runs are judged.

    ``report``: where the page of the run is written after each batch, or None. ``observed``: the tables of plugins that
    hear of what happens, by name. ``best``: the metric of the held-out file by which the best checkpoint is kept.
    ``rehearse``: when a checkpoint is rehearsed before training resumes from it, "resume" (after an unclean end) or
    "daily" (and once a day), or None. ``log_findings``: what is found is logged to the trackers of the training, which
    may take ``log_seconds`` for it.
    """

    path: str
    run: str
    backend: str
    seed: int
    data: Data
    total_steps: int | None
    decay_steps: int | None
    guard: Limits
    watch: Watching
    notify: Notify
    retry: Retry
    verify: Options
    settings: Mapping[str, Any]
    report: str | None = None
    observed: Mapping[str, Mapping[str, Any]] = {}
    best: str | None = None
    rehearse: str | None = None
    log_findings: bool = True
    log_seconds: float = 30.0


def is_train_config(path: str) -> bool:
    """Whether a TOML file is a configuration of ``audit train``: it names a run. Raises ConfigError."""
    return "run" in read_toml(path)


def read_train_config(path: str, registry: Registry) -> tuple[TrainConfig, TrainingBackend]:
    """Read and check a configuration. Raises ConfigError with the path of the key and what is allowed there."""
    document = read_toml(path)
    trainer = _trainer(path, document, registry)
    tables = trainer.schema()
    hearing = {observer.table: observer.schema() for observer in registry.observers}
    _check_shape(path, document, {**hearing, **tables})
    _check_values(path, document, ())
    _check_observers(path, document, registry)
    home = os.path.dirname(os.path.abspath(path))

    def place(name: str) -> str:
        if scheme_of(name) is not None:
            raise ConfigError(f"{path}: {without_secrets(name)}: is not on this machine, and training needs a disk")
        return os.path.normpath(os.path.join(home, os.path.expanduser(name)))

    data = document["data"]
    inbox = place(data["inbox"])
    beside = os.path.dirname(inbox)
    options = {key: data[key] for key in ("format", "max_length", "loss_on") if key in data}
    if "eval" in data:
        options["eval"] = place(data["eval"])
    schedule, guard, watch, trackers = (document.get(name, {}) for name in ("schedule", "guard", "watch", "trackers"))
    config = TrainConfig(
        path=path,
        run=place(document["run"]),
        backend=trainer.name,
        seed=document.get("seed", 42),
        data=Data(
            inbox=inbox,
            done=place(data["done"]) if "done" in data else os.path.join(beside, "done"),
            rejected=place(data["rejected"]) if "rejected" in data else os.path.join(beside, "rejected"),
            after=data.get("after", KEEP),
            epochs=data.get("epochs", 1),
            shuffle=data.get("shuffle", True),
            patterns=tuple(data.get("pattern", PATTERNS if trainer.reads_rows else ("*",))),
            options=options,
            group=data.get("group"),
            group_seconds=float(data.get("group-seconds", 300.0)),
            replay=float(data.get("replay", 0.0)),
        ),
        total_steps=schedule.get("total_steps"),
        decay_steps=schedule.get("decay_steps"),
        guard=Limits(
            strict=guard.get("strict", False),
            max_rollback=guard.get("max-rollback"),
            exact=guard.get("exact", False),
        ),
        watch=Watching(
            settle_seconds=float(watch.get("settle-seconds", 2.0)),
            release_seconds=float(watch.get("release-seconds", 30.0)),
            snapshots=place(watch["snapshots"]) if "snapshots" in watch else None,
        ),
        notify=_notify(path, document, home),
        retry=retry_of(document.get("retry", {})),
        verify=_verify(path, document, registry),
        settings=_settings(path, document, tables, place)
        | {"schedule": dict(schedule)}
        | _kept_best(guard)
        | ({"trackers": {"timeout-seconds": trackers["timeout-seconds"]}} if "timeout-seconds" in trackers else {}),
        report=place(document["report"]["file"]) if "report" in document else None,
        best=guard.get("best"),
        observed={name: document[name] for name in hearing.keys() & document.keys()},
        rehearse=guard.get("rehearse"),
        log_findings=trackers.get("findings", True),
        log_seconds=float(trackers.get("timeout-seconds", 30.0)),
    )
    _check_places(config)
    _check_mixing(config, trainer)
    _check_best(config, trainer)
    try:
        trainer.check(config.settings)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return config, trainer


def _notify(path: str, document: Mapping[str, Any], home: str) -> Notify:
    try:
        return notify_of(document.get("notify"), home)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _settings(
    path: str, document: Mapping[str, Any], tables: Mapping[str, Any], place: Callable[[str], str]
) -> dict[str, Any]:
    try:
        return {name: _placed(name, document[name], tables[name], place) for name in tables if name in document}
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _placed(name: str, table: Any, schema: Mapping[str, Any], place: Callable[[str], str]) -> Any:
    """Make the paths in a backend's table absolute: those with ``"format": "path"`` in its schema, defaults too.

    With ``"path-or-name"`` a text is a path if it looks like one or is there beside the configuration, else a name.
    Raises ConfigError for a name that a library would take for a path in the working directory.
    """
    placed = dict(table)
    for key, part in schema.get("properties", {}).items():
        value, form = table.get(key, part.get("default")), part.get("format")
        if not isinstance(value, str) or form not in ("path", "path-or-name"):
            continue
        there = place(value)
        if form == "path" or value.startswith(("/", "./", "../", "~")) or os.path.exists(there):
            placed[key] = there
        elif os.path.exists(value):
            raise ConfigError(
                f"{name}.{key}: {value} is in the working directory, and paths are relative to the configuration; "
                f"write {os.path.abspath(value)}"
            )
    return placed


def _trainer(path: str, document: Mapping[str, Any], registry: Registry) -> TrainingBackend:
    name = document.get("backend", "hf-trainer")
    if not isinstance(name, str):
        raise ConfigError(f"{path}: backend: {name!r} is not a name")
    try:
        return registry.trainer(name)
    except AuditError as error:
        raise ConfigError(f"{path}: backend: {error}") from error


def _check_observers(path: str, document: Mapping[str, Any], registry: Registry) -> None:
    """Let plugins look at what their schemas cannot say, so that `audit plan` knows it, too. Raises ConfigError."""
    for item in registry.observers:
        if item.table in document and hasattr(item, "check"):
            try:
                item.check(document[item.table])
            except ConfigError as error:
                raise ConfigError(f"{path}: {error}") from error


def _verify(path: str, document: Mapping[str, Any], registry: Registry) -> Options:
    """How runs are judged: the table [verify], else the configuration that `audit verify` would find."""
    if "verify" in document:
        where, options = f"{path}: verify.", options_of_table(document["verify"], registry, path, "verify")
    else:
        found = find(os.path.dirname(os.path.abspath(path)))
        where, options = f"{found}: ", read(found, registry) if found else Options()
    if options.depth != "full":
        raise ConfigError(
            f"{where}depth: {options.depth} checks structure only and proves no checkpoint, and a batch is done when its "
            "checkpoint is proven; set depth to full, in a table [verify] of the training configuration"
        )
    if options.select:
        raise ConfigError(
            f"{where}select: a selection of rules proves no checkpoint, and a batch is done when its checkpoint is proven; "
            "list the rules to leave out in verify.ignore"
        )
    return options


def _check_shape(path: str, document: Mapping[str, Any], tables: Mapping[str, Mapping[str, Any]]) -> None:
    import jsonschema

    with open(os.path.join(os.path.dirname(__file__), os.pardir, "schemas", "train.json"), encoding="utf-8") as file:
        schema = json.load(file)
    schema["properties"] = {**tables, **schema["properties"]}
    validator = jsonschema.Draft202012Validator(schema)
    errors = sorted(validator.iter_errors(document), key=lambda error: list(map(str, error.absolute_path)))
    if errors:
        raise ConfigError(f"{path}: {explain(errors[0])}")


def _check_values(path: str, value: Any, keys: tuple[str, ...]) -> None:
    """Refuse values that TOML allows and JSON does not: dates, NaN, infinities; and NUL, which no path has."""
    if isinstance(value, dict):
        for key, part in value.items():
            _check_values(path, part, (*keys, key))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            _check_values(path, part, (*keys, str(number)))
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{path}: {'.'.join(keys)}: {value} is not a finite number")
    elif not isinstance(value, str | int | float):
        raise ConfigError(f"{path}: {'.'.join(keys)}: a {type(value).__name__} is not allowed; write it as a string")
    elif isinstance(value, str) and "\0" in value:
        raise ConfigError(f"{path}: {'.'.join(keys)}: has a NUL character (\\u0000); remove it")


def explain(error: Any) -> str:
    """Return in one line where a document breaks its schema, and what is allowed there."""
    key = ".".join(str(part) for part in error.absolute_path)
    if key.startswith("notify") and error.validator != "enum":  # what stands there may hold a secret
        return f"{'.'.join(key.split('.')[:2])}: is not of the right form (it is not shown here); see docs/train.md"
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = sorted(error.schema.get("properties", {}))
        extra = min(name for name in error.instance if name not in known)
        parts = error.schema.get("properties", {}).items()
        homes = [name for name, part in parts if isinstance(part, dict) and extra in part.get("properties", {})]
        hint = f"; it is a key of the table [{homes[0]}]" if homes else did_you_mean(extra, known)
        allowed = hint or (f"; there are: {', '.join(known)}" if len(known) <= 16 else "")
        return f"{key + '.' if key else ''}{extra}: there is no such key{allowed}"
    if error.validator == "required":
        missing = min(name for name in error.validator_value if name not in error.instance)
        return f"{key + '.' if key else ''}{missing}: is missing"
    if "refuse" in error.schema:  # an argument of the trainer that must not be set here
        return f"{key}: {error.schema['refuse']}"
    if error.validator in ("anyOf", "type"):
        kinds = error.schema.get("type") or [part.get("type") or part.get("enum") for part in error.schema["anyOf"]]
        return f"{key}: {_shown(error.instance)} is not allowed; it takes {_kinds(kinds)}"
    if error.validator == "enum":
        values = ", ".join(str(value) for value in error.validator_value)
        near = did_you_mean(str(error.instance), [str(value) for value in error.validator_value])
        return f"{key}: {_shown(error.instance)} is not one of {values}{near}"
    return f"{key or 'top level'}: {error.message}"


def _shown(value: Any) -> str:
    """A value in a message: not all of a long one, and no token."""
    return veiled(shortened(repr(value), 80))


def _kinds(kinds: Any) -> str:
    words = {"object": "a table", "array": "a list", "integer": "a whole number", "number": "a number"}
    words |= {"string": "a string", "boolean": "true or false", "null": "nothing"}
    if not isinstance(kinds, list):
        kinds = [kinds]
    named = [
        words.get(kind, str(kind)) if isinstance(kind, str) else " or ".join(map(str, kind or ())) for kind in kinds
    ]
    return " or ".join(dict.fromkeys(named))


def _check_mixing(config: TrainConfig, trainer: TrainingBackend) -> None:
    data = config.data
    wanted = [key for key, value in (("data.group", data.group), ("data.replay", data.replay)) if value]
    if wanted and not trainer.reads_rows:
        raise ConfigError(
            f"{config.path}: {wanted[0]}: the backend {trainer.name} reads data files itself, one at a time"
        )
    if data.replay and data.after == DELETE:
        raise ConfigError(f'{config.path}: data.replay: needs the files in done, which data.after = "delete" deletes')


def _kept_best(guard: Mapping[str, Any]) -> dict[str, Any]:
    return {"guard": {"best": guard["best"]}} if "best" in guard else {}


def _check_best(config: TrainConfig, trainer: TrainingBackend) -> None:
    if config.best is None:
        return
    if not getattr(trainer, "keeps_best", False):
        raise ConfigError(f"{config.path}: guard.best: the backend {trainer.name} does not evaluate a held-out file")
    if "eval" not in config.data.options:
        raise ConfigError(f"{config.path}: guard.best: needs the held-out file that data.eval names")


def _check_places(config: TrainConfig) -> None:
    """Refuse directories inside one another: what is moved to ``done`` would be found again in the inbox."""
    places = {"data.inbox": config.data.inbox, "data.done": config.data.done, "data.rejected": config.data.rejected}
    for name, place in places.items():
        for other, home in {**places, "run": config.run}.items():
            if name != other and (place == home or (other != "run" and place.startswith(home + os.sep))):
                raise ConfigError(f"{config.path}: {name}: {place} is the directory of {other}, or is inside it")
            if other == "run" and place.startswith(home + os.sep):
                raise ConfigError(f"{config.path}: {name}: {place} is inside the run; keep data beside it")
    if config.report is not None:
        for name, home in {**places, "the records": os.path.join(config.run, AUDIT_DIR)}.items():
            if os.path.realpath(config.report).startswith(os.path.realpath(home) + os.sep):
                raise ConfigError(f"{config.path}: report.file: {config.report} is in the directory of {name}")
