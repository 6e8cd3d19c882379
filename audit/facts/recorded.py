"""What the files of one checkpoint record: trainer state, arguments, optimizer, scheduler, random numbers, weights."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from audit.backend.layout import AdapterFiles, Layout
from audit.backend.protocol import ITSELF, names_count_steps, values_in
from audit.errors import NotApplicable
from audit.facts.directory import Directory
from audit.facts.fact import fact
from audit.facts.file import JSON_CHECKED, JSON_QUICK, File, FileFormat
from audit.formats.damage import Damage
from audit.formats.tensors import Tensor
from audit.storage import DIRECTORY

if TYPE_CHECKING:
    from audit.facts.shards import ShardedState
    from audit.facts.state_parts import Prints
    from audit.facts.whole_tensors import WholeTensor
    from audit.facts.zero import ZeroState
    from audit.facts.zero_optimizer import RankOptimizer
    from audit.facts.zero_weights import Apart
    from audit.formats.optimizer import OptimizerState
    from audit.formats.rng import RngState
    from audit.formats.scheduler import ScalerState, SchedulerState
    from audit.formats.torch_archive import TorchArchive
    from audit.formats.trainer_state import History, StateDocument, TrainerState
    from audit.formats.training_args import TrainingArguments


STATES = {"optimizer": "optimizer", "scheduler": "scheduler", "scaler": "gradient scaler"}
"""What a role's state is called."""

POINTER_LIMIT = 4096
"""Bytes of a file that names another one, at most."""


class WeightFile(NamedTuple):
    """One file with weights and its tensors by name."""

    file: str
    tensors: Mapping[str, Tensor]


class Adapter(NamedTuple):
    """One PEFT adapter: its files, its configuration (a JSON object) and its tensors by name."""

    files: AdapterFiles
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


LASTING = frozenset(
    {
        "completeness", "layout", "damages", "state_document", "state", "history", "early_arguments", "arguments",
        "scheduler", "secrets", "updates", "unread", "seal", "zero", "left_places",
        "state_names", "prints", "own_steps",
    }
)  # fmt: skip
"""Facts that rules over the run ask of every checkpoint: small, and of none of them a file is opened again."""


class Recorded(Directory):
    """The contents of a checkpoint's files, each read by its own reader and once."""

    _kept = 0

    # -- the part that each file plays --------------------------------------------------------------------------

    @fact
    def layout(self) -> Layout:
        """Which file plays which part, and which files the configuration owes."""
        files = self.files
        document = self.optional("state_document")
        arguments = self.optional("arguments")
        visible = {path: entry for path, entry in self.entries.items() if entry.kind == DIRECTORY or path in files}
        state = document.document if document else self._values
        pointers = getattr(self._run.backend, "pointers", ())
        texts = {name: text for name in pointers if (text := self._text_of(name)) is not None}
        more = (texts,) if pointers else ()
        layout = self._run.backend.layout(visible, arguments, state, *more)
        return self._run.shared.once("layout", layout)  # type: ignore[no-any-return]

    @property
    def _values(self) -> Mapping[str, Any] | None:
        """The dictionary in a checkpoint that is one file, or in the backend's file; None if it could not be read."""
        candidates = (ITSELF,) if self.is_file else values_in(self.backend)
        path = next((path for path in candidates if path in self.files), None)
        found = self.files[path].optional("value") if path is not None else None
        value = found.value if found is not None and hasattr(found, "value") else None
        return value if type(value) is dict else None

    def _text_of(self, name: str) -> str | None:
        """The text of a short file, None if it is not there or no text."""
        data = self.files[name].optional("text") if name in self.files else None
        return data.decode("utf-8", "replace") if data is not None and len(data) <= POINTER_LIMIT else None

    @fact
    def damages(self) -> tuple[tuple[File, Damage], ...]:
        """Every file that could not be read, with the reason; the integrity rules report them."""
        found = []
        for file in self.files.values():
            if not file.readable:
                continue
            content = self.content(file)
            if isinstance(content, Damage):
                found.append((file, content))
        return tuple(found)

    def content(self, file: File) -> Any:
        """Contents or Damage of a file by its role, so that each is parsed once and by its own reader."""
        backend = self._run.backend
        if file.path == backend.state_file:
            return self._run.state_of(self.name)
        if file.path == backend.arguments_file:
            return self._arguments_or_damage
        if file.format == FileFormat.JSON and file.entry.size > JSON_CHECKED:
            if file.path in self._documents:
                return file.document
            if file.entry.size > JSON_QUICK and self._run.depth == "quick":
                return None
        return file.content

    @fact
    def _documents(self) -> frozenset[str]:
        """The JSON files whose document a resume needs, however large they are."""
        layout = self.optional("layout")
        if layout is None:
            return frozenset()
        configs = [adapter.config for adapter in layout.adapters]
        return frozenset(path for path in (layout.shard_index, *configs) if path)

    def needs(self, file: File) -> bool:
        """Whether a resume reads this file, or nobody can say: a stray one may be damaged, and is sealed as it is."""
        layout = self.optional("layout")
        return layout is None or file.path in layout.read_by_resume

    def holds_weights(self, file: File) -> bool:
        """Whether the trainer would load weights from this file."""
        layout = self.optional("layout")
        return bool(layout and file.path in (*layout.weights, *(adapter.weights for adapter in layout.adapters)))

    # -- what the trainer recorded ------------------------------------------------------------------------------

    @fact
    def state_document(self) -> "StateDocument":
        """The trainer state as it is in the file, valid or not (``problems`` says what is wrong)."""
        self.file(self._run.backend.state_file, "trainer state")
        found = self._run.state_of(self.name)
        if isinstance(found, Damage):
            raise NotApplicable(f"{self._run.backend.state_file} {found.message}")
        return found

    @fact
    def state(self) -> "TrainerState":
        """The trainer state with checked types."""
        document = self.state_document
        if document.state is None:
            raise NotApplicable(f"{self._run.backend.state_file} has the wrong shape")
        return document.state

    @fact
    def global_step(self) -> int:
        """The step that it is of: that of the trainer state; without one N of its name, or the optimizer's count.

        A checkpoint that is one file may hold its step.
        """
        backend = self._run.backend
        if (inside := self.layout.step) is not None:
            return inside
        if backend.state_file:
            return self.state.global_step
        if names_count_steps(backend, self.name):
            return self.step
        if self.updates is None:
            raise NotApplicable("neither its name nor its optimizer counts steps")
        return int(self.updates)

    @property
    def best_recorded(self) -> str | None:
        """Name of the directory that the trainer recorded as the best checkpoint, None if there is none or no state.

        Only the last part of ``best_model_checkpoint``, a path on any system: trees get moved.
        """
        state: TrainerState | None = self.optional("state")
        path = (state.best_model_checkpoint if state is not None else None) or ""
        return path.replace("\\", "/").rstrip("/").rpartition("/")[2] or None

    @fact
    def history(self) -> "History":
        """``log_history``: all entries, and those that the previous checkpoint of the lineage did not have."""
        document = self.state_document
        if document.history is None:
            raise NotApplicable("log_history is not a list of objects")
        return document.history

    @fact
    def _arguments_or_damage(self) -> "TrainingArguments | Damage":
        self.file(self._run.backend.arguments_file, "training arguments")
        return self.early_arguments

    @fact
    def early_arguments(self) -> "TrainingArguments | Damage":
        """The training arguments, also of a checkpoint that is not written to its end: they are written early."""
        path = self._run.backend.arguments_file
        if path not in self._every_file:
            raise NotApplicable("there are no training arguments")
        return self._every_file[path].arguments

    @fact
    def training_arguments(self) -> "TrainingArguments":
        """Class, plain values and pickle names of ``training_args.bin``."""
        found = self._arguments_or_damage
        if isinstance(found, Damage):
            raise NotApplicable(f"{self._run.backend.arguments_file} {found.message}")
        return found

    @fact
    def arguments(self) -> Mapping[str, Any]:
        """The training arguments as plain values (enums as their value strings)."""
        return self.training_arguments.values

    # -- optimizer, scheduler, scaler, random numbers -----------------------------------------------------------

    @fact
    def optimizer(self) -> "OptimizerState":
        """Groups, steps and moments of ``optimizer.pt``, or of a sharded optimizer, put together.

        Of ZeRO, each group is one parameter, as it is for the optimizer that ZeRO divides.
        """
        from audit.formats.optimizer import optimizer_in

        if self.layout.kind == "deepspeed":
            from audit.facts.zero_optimizer import optimizer_in_ranks

            return optimizer_in_ranks(self.zero, self.rank_optimizers)
        if self.layout.optimizer is None and (states := self.optional("shards")):
            from audit.facts.whole_tensors import optimizer_in_shards

            return optimizer_in_shards(states, self.layout)

        return self._state_in(self.layout.optimizer, "optimizer", optimizer_in)  # type: ignore[no-any-return]

    @fact
    def updates(self) -> float | None:
        """How many updates the optimizer counted for the parameter it updated most; None if it counts none.

        The highest count speaks: parameters that were unfrozen later, and experts seldom used, have lower ones.
        """
        return self.optimizer.highest_step

    @fact
    def scheduler(self) -> "SchedulerState":
        """Position and rates of ``scheduler.pt``, or of a scheduler of torch in the state of DeepSpeed's engine."""
        from audit.formats.scheduler import scheduler_in

        if self.layout.scheduler is None and not self.backend.state_file and (states := self.optional("shards")):
            from audit.facts.state_parts import scheduler_in_shards

            return scheduler_in_shards(states)
        if self.layout.scheduler is None and self.layout.kind == "deepspeed":
            return self._scheduler_of_engine
        return self._state_in(self.layout.scheduler, "scheduler", scheduler_in)  # type: ignore[no-any-return]

    @property
    def _scheduler_of_engine(self) -> "SchedulerState":
        """The scheduler that the engine moves; those of DeepSpeed itself keep no rates."""
        from audit.formats.scheduler import scheduler_in
        from audit.formats.torch_archive import part_of

        path = next(iter(self.zero.engines))
        archive = part_of(self.files[path].archive, ("lr_scheduler",))
        found = archive if isinstance(archive, Damage) else scheduler_in(archive)
        if isinstance(found, Damage) or found.last_lr is None:
            raise NotApplicable(f"{path} has no scheduler whose learning rates are known")
        return found

    @fact
    def scaler(self) -> "ScalerState":
        """Scale of the fp16 gradient scaler."""
        from audit.formats.scheduler import scaler_in

        return self._state_in(self.layout.scaler, "scaler", scaler_in)  # type: ignore[no-any-return]

    @fact
    def rng(self) -> "Mapping[str, RngState]":
        """Random number states by file, those that could be read."""
        from audit.formats.rng import rng_in

        if not self.layout.rng:
            raise NotApplicable("there is no random number state")
        archives = {path: self.files[path].content for path in self.layout.rng}
        found = {path: rng_in(item) for path, item in archives.items() if not isinstance(item, Damage)}
        return {path: state for path, state in found.items() if not isinstance(state, Damage)}

    @fact
    def shards(self) -> "tuple[ShardedState, ...]":
        """The sharded states of torch.distributed.checkpoint (FSDP), with what is wrong with them."""
        from audit.facts.shards import shards_of

        return shards_of(self.layout, self.files, self._run.depth == "full")

    @fact
    def state_names(self) -> frozenset[str]:
        """The names of the parts that its sharded states are made of (:mod:`audit.facts.state_parts`)."""
        from audit.facts.state_parts import names_in

        return self._run.shared.once("state_names", names_in(self.shards))  # type: ignore[no-any-return]

    @fact
    def own_steps(self) -> Mapping[str, int]:
        """The steps that a script saved in its sharded states, by name."""
        from audit.facts.state_parts import own_steps_in

        return own_steps_in(self.shards)

    @fact
    def prints(self) -> "Prints":
        """Digests of the weights and the moments in its sharded states, of all ranks and of each."""
        from audit.facts.state_parts import prints_of

        return prints_of(self.shards, self.optimizer, self.sharded_weights)

    @fact
    def zero(self) -> "ZeroState":
        """The states of DeepSpeed's engine and its ZeRO partitions; not there unless all of them are understood."""
        from audit.facts.zero import zero_of

        return zero_of(self.layout, lambda path: self.file(path, "state of DeepSpeed").archive, self._run.shared)

    @fact
    def rank_optimizers(self) -> "tuple[RankOptimizer, ...]":
        """The optimizer that ZeRO divides as each rank saved it, by rank."""
        from audit.facts.zero_optimizer import rank_optimizers_in

        return rank_optimizers_in(self.zero, self.files)

    @fact
    def apart(self) -> "tuple[Apart, ...]":
        """Parameters whose weights in DeepSpeed's module are not those of the ZeRO partitions, rounded."""
        from audit.facts.zero_weights import apart_in

        if self._run.depth == "quick":
            raise NotApplicable("needs --depth full")
        return apart_in(self.zero, self.files)

    def only_padding(self, path: str, records: Iterable[str]) -> frozenset[str]:
        """Return which records of a ZeRO 3 partition or engine have no NaN or infinite value but in the padding.

        Nothing is known of any record if the states of DeepSpeed are not all understood.
        """
        from audit.facts.zero_padding import only_padding

        zero = self.optional("zero")
        return only_padding(zero, self.files, path, records) if zero is not None else frozenset()

    def _state_in(self, path: str | None, role: str, taken_from: "Callable[[TorchArchive], Any]") -> Any:
        from audit.formats.torch_archive import part_of

        archive = part_of(self.file(path, f"{STATES[role]} state").archive, self.layout.parts.get(role, ()))
        found = archive if isinstance(archive, Damage) else taken_from(archive)
        if isinstance(found, Damage):
            raise NotApplicable(f"{path} {found.message}")
        return found

    # -- weights ------------------------------------------------------------------------------------------------

    @fact
    def weights(self) -> tuple[WeightFile, ...]:
        """The files with weights that the trainer would load, adapters included, each with its tensors."""
        paths = dict.fromkeys(
            [*self.layout.weights, *(adapter.weights for adapter in self.layout.adapters if adapter.weights)]
        )
        if not paths:
            raise NotApplicable("there are no weights in a format that is read")
        return tuple(WeightFile(path, self._tensors(path)) for path in paths)

    def _tensors(self, path: str) -> Mapping[str, Tensor]:
        file = self.file(path, "weights")
        if file.format == FileFormat.SAFETENSORS:
            return file.safetensors.tensors
        if file.format == FileFormat.TORCH:
            from audit.formats.torch_archive import tensors

            return tensors(file.weights)
        raise NotApplicable(f"{path} is not a format that is read")

    @fact
    def sharded_weights(self) -> "Mapping[str, WholeTensor]":
        """The tensors of sharded weights by name, each with the files and the places of its chunks."""
        from audit.facts.whole_tensors import weights_in

        return weights_in(self.shards, self.layout)

    @fact
    def adapters(self) -> tuple[Adapter, ...]:
        """The PEFT adapters whose configuration and weights could both be read."""
        found = []
        for files in self.layout.adapters:
            if files.config is None or files.weights is None:
                continue
            config = self.file(files.config, "adapter configuration").optional("value")
            if isinstance(config, dict):
                try:
                    found.append(Adapter(files, config, self._tensors(files.weights)))
                except NotApplicable:
                    continue
        if not found:
            raise NotApplicable("there is no adapter that could be read")
        return tuple(found)

    @fact
    def model_config(self) -> Mapping[str, Any]:
        """``config.json`` of a whole model: ``architectures``, ``model_type``, ``transformers_version`` and more."""
        found = self.file(self.layout.config, "model configuration").optional("value")
        if not isinstance(found, dict):
            raise NotApplicable(f"{self.layout.config} is not a JSON object")
        return found

    # -- all of it ----------------------------------------------------------------------------------------------

    @fact
    def secrets(self) -> tuple[tuple[str, str, str], ...]:
        """What looks like a token or key in clear text: (file, where in it, secret); see :mod:`audit.facts.secrets`."""
        from audit.facts.secrets import secrets_in

        found = self.optional("state_document")
        document = found.document if found is not None else None
        arguments, files = self.optional("arguments") or {}, self.optional("files") or {}
        return tuple(secrets_in(self._run.backend, arguments, document, files))

    def forget(self) -> None:
        """Drop what was parsed, and keep what was concluded from it: an audit holds the contents of a few at a time."""
        known: dict[str, Any] = self.__dict__.get("_facts", {})
        if "optimizer" in known or "shards" in known:
            self.optional("updates")
        if "shards" in known and not self.backend.arguments_file:
            for name in ("state_names", "own_steps", "prints"):
                self.optional(name)
        if "damages" in known:  # every file was read, so no more is read for it
            self.optional("secrets")
        self._kept = self.kept
        lasting = LASTING if self._keeps_scheduler(known) else LASTING - {"scheduler"}
        for file in self._files_if_known():
            file.forget()
        self.drop(*(known.keys() - lasting))

    def _keeps_scheduler(self, known: Mapping[str, Any]) -> bool:
        """Whether there is memory for the scheduler's state to the end; it is counted once."""
        if "scheduler" not in known or "_every_file" not in known:
            return True
        layout = self.optional("layout")
        file = known["_every_file"].get(layout.scheduler) if layout is not None else None
        return file is None or self._run.allowance.keep(file.weight)

    @property
    def kept(self) -> int:
        """Bytes of memory, about, of contents that :meth:`forget` does not drop."""
        return self._kept + sum(file.kept for file in self._files_if_known())

    def _files_if_known(self) -> Iterable[File]:
        known: dict[str, Any] = self.__dict__.get("_facts", {})
        return known["_every_file"].values() if "_every_file" in known else ()
