"""``audit merge``: a LoRA adapter into its base model, from a proven checkpoint, and proven before it is there."""

import json
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

from audit.backend.names import name_of
from audit.errors import AuditError, RefusedError
from audit.facts.checkpoint import Checkpoint
from audit.facts.space import free_at
from audit.judging.proving import Proof, newest_proven, place_of, prove, run_of, seal_now
from audit.ledger.events import SealedFile
from audit.ledger.seals import Seal
from audit.manager import Registry, load
from audit.merging.adapter import read_adapter, read_settings
from audit.merging.base import Base, read_base
from audit.merging.companions import Companions, copy_companions
from audit.merging.digests import Advance, Digests, digest_of, digests_of
from audit.merging.ledger_rows import note_merge
from audit.merging.place import Scratch, refuse_taken, scratch, write_new
from audit.merging.plan import COPIED, Plan, plan_merge
from audit.merging.refusals import refuse
from audit.merging.which_base import Compared, base_path, compare_files, compare_identity
from audit.options import Options
from audit.retention.directories import refuse_files, refuse_place
from audit.storage import LocalStorage, RangeReader
from audit.text import human_bytes, listed, utc_time
from audit.version import __version__

SCHEMA_VERSION = 1
PROOF = "merge.json"

Progress = Callable[[int, int], None]


class Choices(NamedTuple):
    """What the caller chooses: ``dtype`` is torch's name of a type, ``max_shard_size`` is in bytes."""

    checkpoint: int | None = None
    base: str | None = None
    dtype: str | None = None
    max_shard_size: int | None = None
    untie: bool = False


class Merge(NamedTuple):
    """A merged model in ``path``; ``document`` is its proof, the content of ``merge.json``.

    ``notes`` are those of the document, and what could not be recorded.
    """

    path: str
    checkpoint: str
    document: Mapping[str, Any]
    notes: tuple[str, ...]


def merge(
    run: str,
    out: str,
    choices: Choices | None = None,
    options: Options | None = None,
    *,
    registry: Registry | None = None,
    progress: Progress | None = None,
    merging: Progress | None = None,
) -> Merge:
    """Merge the adapter of a proven checkpoint of ``run`` into its base, prove the result, and rename it to ``out``.

    ``progress`` hears of the bytes of the run that are verified, ``merging`` of those that are merged and proven.
    Nothing is left of ``out`` unless all is proven. Raises RefusedError: nothing is proven, ``out`` exists, the base is
    another one, or the adapter is of a kind that is not merged; AuditError if it cannot be done.
    """
    chosen, plugins, choices = options or Options(), registry or load(), choices or Choices()
    root = run_of(run, chosen, plugins)
    refuse_place(root, out)
    refuse_taken(out)
    proof = prove(run, chosen, plugins, progress=progress)
    refuse_files(proof.run, "merge")
    checkpoint = _checkpoint(proof, choices.checkpoint, chosen, plugins)
    names = _adapter_of(checkpoint)
    config_at, where = (os.path.join(place_of(checkpoint), name) for name in names)
    config = checkpoint.adapters[0].config
    settings = read_settings(config, config_at)
    adapter = read_adapter(settings, checkpoint.adapters[0].tensors, where)
    backend = proof.run.backend.name
    path = base_path(choices.base, config, config_at, plugins, backend)
    base = read_base(path)
    recorded = proof.run.records.batches.base_at(checkpoint.step)
    compared = compare_identity(path, recorded, plugins, backend)
    plan = plan_merge(
        adapter,
        base,
        where,
        dtype=choices.dtype,
        max_shard_size=choices.max_shard_size,
        untie=choices.untie,
    )
    seal = seal_now(checkpoint)
    with scratch(out) as place, ExitStack() as stack:
        job = _Job(proof, checkpoint, seal, base, plan, compared, stack, merging)
        document = job.carry_out(place, names, where)
        problem = note_merge(root, checkpoint, out, document, job.base_files)
    unrecorded = () if problem is None else (problem,)
    over = proof.passed_over(checkpoint) if choices.checkpoint is None else ()
    return Merge(out, checkpoint.name, document, (*over, *proof.report.notes, *document["notes"], *unrecorded))


def _checkpoint(proof: Proof, step: int | None, options: Options, registry: Registry) -> Checkpoint:
    """The newest proven checkpoint, or the one of a step. Raises RefusedError if it is not proven."""
    if step is None:
        return newest_proven(proof, options, registry)
    for item in proof.proven:
        if item.step == step:
            return item
    run = proof.run
    there = next((item.name for item in run.checkpoints if item.step == step), None)
    if there is None:
        names = listed([item.name for item in run.checkpoints])
        raise RefusedError(f"{run.path}: {name_of(step)} is not there; there: {names}")
    why = next((f": {why}" for name, why in proof.unproven(step) if name == there), "")
    raise RefusedError(f"{run.path}: {there} is not proven{why}; see audit verify {run.path}")


class _Names(NamedTuple):
    """The files of an adapter, relative to its checkpoint."""

    config: str
    weights: str


def _adapter_of(checkpoint: Checkpoint) -> _Names:
    """The files of the one adapter. Raises RefusedError."""
    place = place_of(checkpoint)
    layout = checkpoint.layout
    if not layout.adapters:
        refuse(place, "has no adapter: it is a whole model already", "use it as it is")
    if len(layout.adapters) > 1:
        names = ", ".join(adapter.name for adapter in layout.adapters)
        refuse(place, f"has {len(layout.adapters)} adapters ({names}), and audit merge takes one")
    files = layout.adapters[0]
    weights = files.weights or ""
    if not weights.endswith(".safetensors"):
        refuse(place, f"has its adapter in {weights}, a pickle, which is not merged", "save it as safetensors")
    if files.config is None or not checkpoint.optional("adapters"):
        refuse(place, "has an adapter without a configuration", "verify the run")
    return _Names(files.config, weights)


class _Job:
    """One merge: digest the base, write, prove, publish."""

    def __init__(
        self,
        proof: Proof,
        checkpoint: Checkpoint,
        seal: Seal,
        base: Base,
        plan: Plan,
        compared: Compared,
        stack: ExitStack,
        merging: Progress | None,
    ) -> None:
        self._proof, self._checkpoint, self._seal, self._base, self._plan = proof, checkpoint, seal, base, plan
        self._compared, self._stack = compared, stack
        total = sum(shard.size for shard in base.shards) + 2 * plan.size
        self._advance: Advance = (lambda count: merging(count, total)) if merging is not None else lambda _: None
        self.base_files: dict[str, SealedFile] = {}

    def carry_out(self, place: Scratch, names: _Names, where: str) -> dict[str, Any]:
        """Return the proof; OUT is there then. Raises RefusedError, AuditError, OSError."""
        from audit.merging.blocks import Readers
        from audit.merging.proof import prove_files
        from audit.merging.weight_files import write_files

        try:
            self._refuse_without_space(place)
            base = {shard.name: self._stack.enter_context(self._base.open(shard.name)) for shard in self._base.shards}
            known = self._digests(base)
            reader = self._stack.enter_context(self._open(names.weights))
            self._check_sealed(names, reader)
            readers = Readers(base, reader, where)
            written = write_files(self._plan, self._base, readers, known, place.model, self._advance)
            if not any(written.ratios.values()) and not any(item.saved for item in self._plan.outputs):
                refuse(where, "changes nothing: every update is zero", "merge a checkpoint that was trained")
            checked = prove_files(self._plan, readers, known, written, place.model, self._advance)
            beside = copy_companions(self._base, self._checkpoint, self._plan, place.model)
            digests = {**written.files, **self._digests_beside(beside, place.model)}
            document = self._document(place.out, names, digests, written, checked)
            text = json.dumps(document, indent=2, allow_nan=False) + "\n"
            write_new(os.path.join(place.model, PROOF), [text.encode()])
            place.publish()
        except OSError as error:
            what = f"{error.filename}: " if error.filename else ""
            raise AuditError(f"{place.out}: cannot be made: {what}{error.strerror or error}") from error
        return document

    def _refuse_without_space(self, place: Scratch) -> None:
        free = free_at(place.model).bytes
        if free < self._plan.size:
            needed = human_bytes(self._plan.size)
            raise AuditError(f"{place.out}: needs {needed}, and {human_bytes(free)} are free there; make room first")

    def _digests(self, readers: Mapping[str, RangeReader]) -> dict[str, Digests]:
        """Digest the base, and compare it with what the ledger has of it."""
        found = {
            shard.name: digests_of(readers[shard.name], shard.tensors, self._advance) for shard in self._base.shards
        }
        self.base_files = {name: digests.file for name, digests in found.items()}
        run = self._proof.run
        sealed = compare_files(self._base.path, self.base_files, run.records, run.path)
        self._compared = self._compared._replace(sealed=sealed)
        return found

    def _open(self, name: str) -> Any:
        return self._checkpoint.run.storage.open(f"{self._checkpoint.name}/{name}")

    def _check_sealed(self, names: _Names, weights: RangeReader) -> None:
        """The adapter's files are those that were proven. Raises AuditError."""
        with self._open(names.config) as config:
            found = {names.weights: digest_of(weights), names.config: digest_of(config)}
        for name, digest in found.items():
            self._refuse_changed(name, digest)

    def _refuse_changed(self, name: str, found: SealedFile) -> None:
        if self._seal.files.get(name) != found:
            raise AuditError(f"{place_of(self._checkpoint)}/{name}: changed since it was proven; try again")

    def _digests_beside(self, beside: Companions, home: str) -> dict[str, SealedFile]:
        """Digests of the files beside the weights; those of the checkpoint are the sealed ones. Raises AuditError."""
        storage = LocalStorage(home)
        found = {}
        for name in (*beside.trained, *beside.others):
            with storage.open(name) as reader:
                found[name] = digest_of(reader)
            if name in beside.trained:
                self._refuse_changed(name, found[name])
        return found

    def _document(
        self, out: str, names: _Names, digests: Mapping[str, SealedFile], written: Any, checked: Mapping[str, Any]
    ) -> dict[str, Any]:
        outputs = tuple(self._plan.outputs)
        kinds = [output.kind for output in outputs]
        settings = {name: self._seal.files[name] for name in names}
        changed = []
        for output in outputs:
            if output.kind == COPIED:
                continue
            update, proven = output.update, checked[output.name]
            changed.append(
                {
                    "name": output.name,
                    "kind": output.kind,
                    "rank": update.rank if update else None,
                    "scaling": update.scaling if update else None,
                    "update_ratio": written.ratios.get(output.name),
                    "rows_recomputed": proven.rows,
                    "values_recomputed": proven.values,
                    "largest_deviation": proven.worst,
                }
            )
        still = [name for name, ratio in written.ratios.items() if ratio == 0]
        notes = list(self._compared.notes)
        if still:
            notes.append(f"{len(still)} of {len(written.ratios)} updates are zero, the first is that of {still[0]}")
        if not self._compared.identity and not self._compared.sealed:
            notes.append("nothing in the ledger says which base the adapter was trained on: this one was not compared")
        merged = {
            "tool": {"name": "checkpoint-audit", "version": __version__},
            "time": utc_time(),
            "checkpoint": self._checkpoint.name,
            "step": self._checkpoint.step,
            "adapter": {"files": _listed(settings)},
            "base": {
                "path": self._base.path,
                "files": _listed(self.base_files),
                "identity": list(self._compared.identity),
                "sealed": self._compared.sealed,
            },
            "dtype": self._plan.dtype,
            "untied": self._plan.untied,
            "tensors": {kind: kinds.count(kind) for kind in ("copied", "converted", "merged", "replaced")},
            "changed": changed,
            "files": _listed(digests),
        }
        run = self._proof.run.path
        return {
            "schema_version": SCHEMA_VERSION,
            "run": run,
            "refusal": None,
            "path": out,
            "merge": merged,
            "notes": notes,
        }


def _listed(files: Mapping[str, SealedFile]) -> dict[str, dict[str, Any]]:
    return {name: {"size": found.size, "blake3": found.digest} for name, found in sorted(files.items())}
