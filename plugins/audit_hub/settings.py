"""Where checkpoints are pushed to: templates of names, checked before anything is queued."""

import os
import re
from collections.abc import Mapping
from string import Formatter
from typing import Any, NamedTuple

from audit.plugin import ConfigError, utc_time

DEFAULT_REPO = "{user}/{prefix}-{step}-{time}"
FIELDS = ("user", "prefix", "step", "time")
DEADLINE_SECONDS = 600.0
BYTES_PER_SECOND = 1_000_000
"""A try may take so many seconds, and one more for each so many bytes."""

SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "repo": {"type": "string", "minLength": 1},
        "folder": {"type": "string"},
        "branch": {"type": "string", "minLength": 1},
        "prefix": {"type": "string", "minLength": 1},
        "public": {"type": "boolean"},
        "depth": {"enum": ["quick", "full"]},
    },
}
"""The table ``[hub]`` of the configuration of ``audit train``."""

STARTING = """\
# [hub]  # push each proven checkpoint to the Hugging Face Hub; needs the extra hub
# repo = "{user}/{prefix}-{step}-{time}"  # the repository; made if it is not there
# folder = "checkpoint-{step}"  # a folder in it; none if not set
# branch = "main"  # a branch of it
# prefix = "my-model"  # {prefix} in these names; the name of the run if not set
# public = false  # whether a new repository is public
# depth = "full"  # a push is done when every byte was read back; "quick" if not set
"""
"""The table in a first configuration, as ``audit init`` writes it."""


class Settings(NamedTuple):
    """Templates of the repository, the folder in it and its branch; :data:`FIELDS` can be in them.

    ``prefix``: the name of the run if it is empty. ``depth`` "full": a push is done when every byte was read back.
    """

    repo: str = DEFAULT_REPO
    folder: str = ""
    branch: str = "main"
    prefix: str = ""
    public: bool = False
    depth: str = "quick"

    @property
    def template(self) -> tuple[str, str, str]:
        """What names the target before a time is put in."""
        return self.repo, self.folder, self.branch


class Target(NamedTuple):
    """A repository, which may still contain ``{user}``, a folder in it, and its branch."""

    repo: str
    folder: str
    branch: str


def settings_of(table: Mapping[str, Any]) -> Settings:
    """Return the settings of a table that fits the schema. Raises ConfigError for a template that cannot be used."""
    settings = Settings(**table)
    target_of(settings, "run", 1)
    return settings


def target_of(settings: Settings, run: str, step: int, moment: str | None = None) -> Target:
    """Return where the checkpoint of a step goes; ``moment`` is the ``{time}``, by default now (UTC).

    Raises ConfigError if a template is not valid, or gives two checkpoints the same place.
    """
    used = set()
    for name, template in zip(("repo", "folder", "branch"), settings.template, strict=True):
        used |= _fields(name, template)
    if "step" not in used:
        raise ConfigError("hub: no template contains {step}, so each checkpoint would replace the one before")
    values = {
        "user": "{user}",
        "prefix": settings.prefix or prefix_of(run),
        "step": str(step),
        "time": moment or utc_time(form="%Y%m%d_%H%M%S"),
    }
    repo, folder, branch = (template.format(**values) for template in settings.template)
    folder = folder.strip("/")
    check_repo(repo.replace("{user}", "user"))
    if folder and not is_safe_path(folder):
        raise ConfigError(f"hub.folder: {folder!r} is not a path inside a repository")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,200}", branch) or ".." in branch or branch.startswith("refs/"):
        raise ConfigError(f"hub.branch: {branch!r} is not the name of a branch")
    return Target(repo, folder, branch)


def check_repo(repo: str) -> None:
    """Raise ConfigError unless the Hub takes the name (huggingface_hub 2.4, ``validate_repo_id``)."""
    owner, slash, name = repo.partition("/")
    for part in (owner, name):
        wrong = not re.fullmatch(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?", part)
        if not slash or wrong or "--" in part or ".." in part or part.endswith(".git"):
            raise ConfigError(
                f"hub.repo: {repo!r} is not OWNER/NAME as the Hub takes it: letters, digits, '-', '_' and '.', at most "
                "96 of them"
            )


def prefix_of(run: str) -> str:
    """Return a name for a run that the Hub takes."""
    plain = re.sub(r"[^A-Za-z0-9._]+", "-", os.path.basename(os.path.abspath(run)))
    return re.sub(r"\.\.+", ".", plain)[:60].strip("-._") or "run"


def is_safe_path(path: str) -> bool:
    """Whether a path of somebody else stays inside the directory that it is put into."""
    parts = path.split("/")
    return len(path) < 1000 and "\\" not in path and path.isprintable() and not {"", ".", ".."} & set(parts)


def _fields(name: str, template: str) -> set[str]:
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise ConfigError(f"hub.{name}: {template!r}: {error}") from error
    found = set()
    for _, field, spec, conversion in parts:
        if field is None:
            continue
        if field not in FIELDS or spec or conversion or (field == "user" and name != "repo"):
            known = ", ".join(f"{{{item}}}" for item in FIELDS if item != "user" or name == "repo")
            raise ConfigError(f"hub.{name}: {template!r}: only {known} can be in it")
        found.add(field)
    return found
