"""Trainers whose checkpoints no backend reads, by what they leave: what it is, and what to do instead.

To rename such a checkpoint until some backend takes it would be judged wrongly, and the trainer would not find it any
more. Sources: Megatron-LM, ``training/checkpointing.py`` (``get_checkpoint_tracker_filename``, ``iter_%07d``, 7 digits)
and ``core/dist_checkpointing`` (``common.pt``, ``metadata.json``); NeMo 2, ``lightning/ckpt_utils.py`` (``context``,
``weights``); verl, ``utils/checkpoint/fsdp_checkpoint_manager.py`` and ``trainer/ppo/ray_trainer.py``; Unsloth,
``diffusion_checkpoint.py`` (pull request 8163).
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from audit.storage import DIRECTORY, FILE, LINK, Entry, Storage

if TYPE_CHECKING:
    from audit.formats.trainer_state import StateDocument

TRACKER = "latest_checkpointed_iteration.txt"
"""Of Megatron, of NeMo's bridge to it and of verl: the number of the newest checkpoint, or "release". verl does not
write it with asynchronous saves."""

_LONGEST = 64
"""Bytes of a tracker that are read."""

_ITERATION = re.compile(r"iter_[0-9]{7,18}|release")
_STEP = re.compile(r"global_step_[0-9]{1,18}")
_RANK = re.compile(r"mp_rank_[0-9]{2,6}(_[0-9]{3,6}){0,2}")
_VERL = re.compile(r"(model|optim|extra_state)_world_size_[0-9]{1,6}_rank_[0-9]{1,6}\.pt")
_VERL_ROLES = ("actor", "critic")

MEGATRON, NEMO, VERL = "Megatron", "NeMo", "verl"
_RESUMES = {
    MEGATRON: f"Megatron (--load), which goes by {TRACKER}",
    NEMO: "NeMo (AutoResume), which looks for its newest checkpoint",
    VERL: f"verl (trainer.resume_mode=auto), which goes by {TRACKER}",
}


class OtherTrainer(NamedTuple):
    """Where it shows (``name`` in the directory, "" is the directory itself), what it is, and what to do.

    ``model``: it is a model, which may as well be one that was downloaded.
    """

    name: str
    what: str
    remedy: str
    model: bool = False


def other_trainer(path: str, entries: Mapping[str, Entry], storage: Storage | None = None) -> OtherTrainer | None:
    """Return what one of these trainers left in a directory, None if it is of none of them.

    ``path`` is relative to the run, ``entries`` are by name. The tracker file is read from ``storage``.
    """
    home = path.rpartition("/")[2]
    files = {name for name, entry in entries.items() if entry.kind in (FILE, LINK)}
    inner = {name for name, entry in entries.items() if entry.kind == DIRECTORY}
    if TRACKER in files:
        return _tracked(entries[TRACKER], inner, storage)
    step = next((name for name in sorted(inner) if _STEP.fullmatch(name)), None)
    if any(map(_VERL.fullmatch, files)) or (_STEP.fullmatch(home) and inner.intersection(_VERL_ROLES)):
        return _of("", f"a checkpoint of {VERL}", VERL)
    if {"context", "weights"} <= inner and _is_context(entries["context"], storage):
        return _of("", f"a checkpoint of {NEMO}", NEMO)
    nemo = next((name for name in sorted(files) if name.endswith(".nemo")), None)
    if nemo is not None:
        return _of(nemo, f"a model of {NEMO}", NEMO)._replace(model=True)
    if {"common.pt", "metadata.json"} <= files:
        return _of("", f"a checkpoint of {MEGATRON} or {NEMO} (Megatron Core)", MEGATRON, NEMO)
    if step is None and "model_optim_rng.pt" in files and _RANK.fullmatch(home):
        return _of("", f"a rank's part of a checkpoint of {MEGATRON}", MEGATRON)
    iteration = next((name for name in sorted(inner) if _ITERATION.fullmatch(name) and name != "release"), None)
    return _of(iteration, f"a checkpoint of {MEGATRON}", MEGATRON) if iteration is not None else None


def is_checkpoint_of_others(name: str) -> bool:
    """Whether Megatron, NeMo or verl call a checkpoint so that is beside their tracker file."""
    return bool(_ITERATION.fullmatch(name) or _STEP.fullmatch(name))


def _tracked(tracker: Entry, inner: set[str], storage: Storage | None) -> OtherTrainer:
    """What the tracker file is of, by the directories beside it."""
    text = _text(tracker, storage)
    if any(map(_STEP.fullmatch, inner)):
        return _of(TRACKER, f"the tracker file of {VERL}{f' (step {text})' if text else ''}", VERL)
    if any(map(_ITERATION.fullmatch, inner)):
        return _of(TRACKER, f"the tracker file of {MEGATRON}{f' (iteration {text})' if text else ''}", MEGATRON)
    return _of(TRACKER, f"the tracker file of {MEGATRON}, {NEMO} or {VERL}", MEGATRON, NEMO, VERL)


def _text(entry: Entry, storage: Storage | None) -> str | None:
    """What the tracker says, None unless it is a number."""
    if storage is None or entry.kind != FILE:
        return None
    try:
        with storage.open(entry.path) as source:
            text = source.read(0, min(source.size, _LONGEST)).decode("ascii", "replace").strip()
    except OSError:
        return None
    return text if text.isascii() and text.isdigit() else None


def _is_context(entry: Entry, storage: Storage | None) -> bool:
    """Whether a directory holds what NeMo 2 restores a model and its tokenizer from."""
    try:
        names = {item.name for item in storage.list(entry.path)} if storage is not None else set()
    except OSError:
        return False
    return not names.isdisjoint(("io.json", "model.yaml"))


def _of(name: str, what: str, *trainers: str) -> OtherTrainer:
    how = _RESUMES[trainers[0]] if len(trainers) == 1 else "the program that saved it"
    return OtherTrainer(name, what, f"no backend reads it: resume with {how}")


def foreign_state(document: "StateDocument") -> str | None:
    """Say which program's manifest a ``trainer_state.json`` is, None if it is Trainer's or nobody knows.

    Unsloth's diffusion trainer calls its manifest so: it has ``format``, ``version`` and ``kind``, and no log.
    """
    said: Any = document.document.get("format")
    if type(said) is not str or document.history is not None or "version" not in document.document:
        return None
    if said.startswith("unsloth-diffusion"):
        return "Unsloth's diffusion trainer, whose trainer_state.json is a manifest of its own"
    return None
