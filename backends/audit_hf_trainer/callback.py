"""The audit inside a training: verify, seal and pin at each save, refuse to start over by accident.

Besides ``training``, this is the only module of this backend that imports transformers and torch.
"""

import os
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TypeVar

from transformers import TrainerCallback

from audit.plugin import AuditError, checkpoint_name
from audit_hf_trainer.fsdp import WHOLE, loses_moments
from audit_hf_trainer.watch import LOG, Watch

STOP, WARN, REFUSE, ALLOW = "stop", "warn", "refuse", "allow"
T = TypeVar("T")

_MOST_SKIPPED = 40
"""So many steps in a row may be skipped for infinite gradients in fp16: the scale begins at 2^16 and is halved."""


class CheckpointViolation(AuditError):
    """A checkpoint that this training saved is broken, with ``on_violation="stop"``; the message names the finding."""


class AuditCallback(TrainerCallback):
    """Verify and seal each checkpoint as it is saved, pin the newest proven one, refuse to start over by accident.

    ``on_violation``: "stop" ends the training after a save with an error and raises CheckpointViolation at its end;
    "warn" only logs it. ``pin`` keeps the newest proven checkpoint as hard links in ``<output_dir>/.audit/pinned/``,
    where rotation does not reach it. ``depth``: "full" reads every byte that was saved and seals it, "quick" checks
    only the structure, so it proves nothing and pins nothing. ``fresh``: "refuse" raises ResumeRefused before the first
    step of a training that would start at 0 although there are checkpoints, "allow" does not. ``resume``: "refuse"
    raises ResumeRefused before the first step of a training that goes on from a checkpoint which is not resumable, and
    AuditError after its first step if Trainer has left the optimizer's state out; "warn" only logs it. ``config`` is
    the path of a configuration (``audit.toml``) whose rules, severities and accepted findings count; none is looked
    for.

    Process 0 does this while the others wait for its result. Logs to the logger "audit".
    """

    def __init__(
        self,
        *,
        on_violation: str = STOP,
        pin: bool = True,
        depth: str = "full",
        fresh: str = REFUSE,
        resume: str = REFUSE,
        config: str | None = None,
    ) -> None:
        for name, value, known in (
            ("on_violation", on_violation, (STOP, WARN)),
            ("depth", depth, ("full", "quick")),
            ("fresh", fresh, (REFUSE, ALLOW)),
            ("resume", resume, (REFUSE, WARN)),
        ):
            if value not in known:
                raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(known)}")
        self.on_violation = on_violation
        self.resume = resume
        self._watch = Watch(
            pin=pin,
            depth=depth,
            strict=on_violation == STOP,
            fresh=fresh == ALLOW,
            broken=resume == WARN,
            config=config or "",
        )
        self._violation: str | None = None
        self._resumed_bare: int | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        """Raise ResumeRefused, on every process, if training starts over or goes on from what is not resumable."""
        self._violation = self._resumed_bare = None
        if state.is_hyper_param_search:
            return  # each trial starts at 0, in its own directory
        refusal = None
        if args.process_index == 0:
            refusal = self._watch.begin(args.output_dir, state.global_step, state.max_steps)
        refusal = _from_first(refusal, args)
        if refusal is not None:
            raise _in_one_line(self._watch.refused(refusal))
        if state.global_step and _from_first(not _has_state(unused.get("optimizer")), args):
            self._resumed_bare = state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        """Raise AuditError if the optimizer keeps a state and had none after the resume: then none was loaded.

        Whether an optimizer keeps one shows only after a step; nothing is saved before.
        """
        if self._resumed_bare is None:
            return
        begun = self._resumed_bare
        kept = _from_first(_has_state(unused.get("optimizer")), args)
        if not kept and args.fp16 and state.global_step - begun < _MOST_SKIPPED:
            return  # the scaler may have skipped this step
        self._resumed_bare = None
        if not kept or (args.fp16 and begun < _MOST_SKIPPED):
            return
        why = ""
        if loses_moments(getattr(args, "fsdp_plugin_args", None)):
            why = f': accelerate loads no shards of it for FSDP version 1; use version 2, or "{WHOLE}"'
        text = f"training resumed at step {begun}, but the optimizer's state was not loaded, it began anew{why}"
        if self.resume == REFUSE:
            raise _in_one_line(AuditError(f'{text}; AuditCallback(resume="{WARN}") lets it train on'))
        if args.process_index == 0:
            LOG.warning("%s: %s", args.output_dir, text)

    def on_save(self, args: Any, state: Any, control: Any, **unused: Any) -> Any:
        """Verify what was saved; after an error, with "stop", training ends on every process."""
        _wait_for_all(args)  # the other processes write their random states a little later
        found = None
        if args.process_index == 0 and not state.is_hyper_param_search:
            found = self._watch.saved(args.output_dir, checkpoint_name(state.global_step))
        found = _from_first(found, args)
        if found is not None and self.on_violation == STOP:
            self._violation = self._violation or found
            control.should_training_stop = True
        return control

    def on_train_end(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        """Raise CheckpointViolation if the training was stopped: an exit code of 0 would look like success."""
        if self._violation is not None:
            raise _in_one_line(
                CheckpointViolation(
                    f"training was stopped at step {state.global_step}: {self._violation}; "
                    f"`audit guard {os.path.normpath(args.output_dir)}` names the checkpoint to resume from"
                )
            )


def _in_one_line(error: Exception) -> Exception:
    """Have an error that nobody catches end the program with one line: its traceback leads through Trainer alone.

    A hook of the program's own stays, and AUDIT_TRACEBACK shows the traceback.
    """

    def show(kind: type[BaseException], value: BaseException, trace: TracebackType | None) -> None:
        if value is error:
            sys.stderr.write(f"audit: {value}\n")
        else:
            sys.__excepthook__(kind, value, trace)

    if sys.excepthook is sys.__excepthook__ and not os.environ.get("AUDIT_TRACEBACK"):
        sys.excepthook = show
    return error


def _has_state(optimizer: Any) -> bool:
    """Whether an optimizer keeps anything for any parameter; SGD without momentum may keep None for each."""
    state = getattr(optimizer, "state", None)
    if not isinstance(state, Mapping):
        return False
    return any(
        any(value is not None for value in entry.values()) if isinstance(entry, Mapping) else entry is not None
        for entry in state.values()
    )


def _several(args: Any) -> bool:
    import torch

    there = torch.distributed.is_available() and torch.distributed.is_initialized()
    return bool(there) and torch.distributed.get_world_size() > 1


def _wait_for_all(args: Any) -> None:
    if _several(args):
        import torch

        torch.distributed.barrier()


def _from_first(value: T, args: Any) -> T:
    """Return process 0's value on every process."""
    if not _several(args):
        return value
    import torch

    held = [value]
    torch.distributed.broadcast_object_list(held, src=0, device=args.device)
    return held[0]
