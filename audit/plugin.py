"""What rules, backends, reporters and pages import of ``audit``; their tests use ``audit.testing``, too.

::

    from audit.plugin import Checkpoint, Severity, Violation, rule

What ``__all__`` names is a promise (docs/contract.md, "What plugins may rely on"); the modules behind it may change in
any release. A name that is clear only together with its module, such as ``pin``, is longer here. Each is imported at
its first use: a plugin pays only for what it uses.
"""

from typing import TYPE_CHECKING, Any

__all__ = [  # noqa: RUF022  grouped by who needs it
    # every rule
    "Checkpoint",
    "NotApplicable",
    "Plan",
    "Rule",
    "Run",
    "Severity",
    "Violation",
    "rule",
    "ANY_RULE",
    # the files of a checkpoint
    "Damage",
    "DamageKind",
    "Entry",
    "File",
    "FileFormat",
    "METADATA",
    "is_metadata",
    "rank_of_metadata",
    "FileScan",
    "Safetensors",
    "ShardIndex",
    "SpanScan",
    "Tensor",
    "TorchArchive",
    "read_shard_index",
    "zeros_are_normal",
    "DIRECTORY",
    "FILE",
    "ITSELF",
    "LINK",
    "SPECIAL",
    # the facts of a checkpoint
    "Adapter",
    "AdapterFiles",
    "CheckpointState",
    "Completeness",
    "History",
    "Layout",
    "LogEntry",
    "OptimizerState",
    "RngState",
    "RunFacts",
    "ScalerState",
    "SchedulerState",
    "SessionFacts",
    "Seal",
    "StateDocument",
    "TrainerState",
    "TrainingArguments",
    "Unread",
    "WeightFile",
    "Apart",
    "EngineState",
    "RankOptimizer",
    "ShardedState",
    "shard_span_name",
    "ZeroPartition",
    "ZeroState",
    "Exchange",
    "WholeTensor",
    "Print",
    "Prints",
    # the facts of a run and of a plan
    "Batch",
    "Boundary",
    "Listing",
    "Saves",
    "Schedule",
    "Space",
    "Timeline",
    "world_change",
    "world_of",
    "never_rises",
    "rate_rises",
    "LEDGER",
    # the numbers of a log
    "Point",
    "metric_key",
    "series",
    "tail",
    # pickles
    "PickleCall",
    "PickleGlobal",
    "TensorRef",
    "is_dangerous",
    "loads_by_default",
    "plain_name",
    "refused_in_torch_file",
    # secrets
    "credentials",
    "is_token_placeholder",
    "secret_hint",
    # every plugin
    "AuditError",
    "ConfigError",
    "PluginError",
    "hookimpl",
    # backends
    "Alone",
    "Backend",
    "BadData",
    "Files",
    "LastingBackend",
    "LegData",
    "LegFailed",
    "LegRequest",
    "LegResult",
    "Judged",
    "OpenTrackers",
    "LocalStorage",
    # storages
    "ContextReader",
    "DistantReader",
    "RangeReader",
    "Storage",
    "StorageOpener",
    "TRAINER",
    "UPLOAD",
    "UnreachableError",
    "Note",
    "Phase",
    "PlanningBackend",
    "Progress",
    "ReadExample",
    "ReadingBackend",
    "Arrival",
    "Compared",
    "Rehearsal",
    "RehearsalRequest",
    "RehearsalReport",
    "RehearsingBackend",
    "Replayed",
    "judge_rehearsal",
    "judged_of",
    "logged_after",
    "steps_to_train",
    "StoredOptimizer",
    "StoredPartition",
    "StoredState",
    "StoredTensor",
    "FP32",
    "OPTIMIZER_PART",
    "RANDOM_PART",
    "SCHEDULER_PART",
    "WEIGHTS_PART",
    "RowFormat",
    "Size",
    "StartingBackend",
    "TrackingBackend",
    "Stateless",
    "Step",
    "Team",
    "Tell",
    "TrainingBackend",
    "asking_tracker",
    "catch_signals",
    "checked_rows",
    "checkpoint_name",
    "checkpoint_step",
    "is_checkpoint_of_any",
    "is_checkpoint_file",
    "step_of_file",
    "read_safetensors",
    "read_trainer_state",
    "read_training_args",
    "scratch_directory",
    "IGNORED_LABEL",
    # reporters and pages
    "CheckpointSummary",
    "Context",
    "Curve",
    "Evidence",
    "ACCEPTED",
    "Acceptance",
    "Finding",
    "FleetGroup",
    "FleetPage",
    "FleetRule",
    "FleetRun",
    "FleetView",
    "Leg",
    "Mark",
    "Outcome",
    "Page",
    "Placed",
    "Report",
    "Reporter",
    "RuleOutcome",
    "RunCurves",
    "Unaudited",
    "__version__",
    "did_you_mean",
    "first_line",
    "human_bytes",
    "listed",
    "minute",
    "shortened",
    "utc_time",
    "BROKEN",
    "SOUND",
    "SUSPECT",
    # commands, and what hears of audit train
    "Command",
    "Observer",
    "Terminal",
    # programs: pytest, a callback in a training
    "Decision",
    "GuardLimits",
    "Guarded",
    "Options",
    "RefusedError",
    "Registry",
    "ResumeRefused",
    "RunLock",
    "check_options",
    "consult_guard",
    "detach_pins",
    "find_config",
    "guard",
    "load_plugins",
    "locate_run",
    "open_run",
    "pin_checkpoint",
    "prune",
    "read_config",
    "record_training_start",
    "snapshot",
    "verify",
    # programs that push checkpoints to another place
    "AUDIT_DIR",
    "GoingBack",
    "Ledger",
    "LedgerError",
    "Proof",
    "PushQueued",
    "PushState",
    "PushedFile",
    "SCRATCH",
    "clear_outbox",
    "discard_checkpoint",
    "open_ledger",
    "place_in_outbox",
    "prove_run",
    "put_in_outbox",
    "seal_now",
    "sync_to_disk",
    "unix_time",
    "veiled",
    "within",
]

if TYPE_CHECKING:
    from audit.api import guard, verify
    from audit.audit_dir import AUDIT_DIR, LEDGER, SCRATCH
    from audit.audit_dir import scratch as scratch_directory
    from audit.backend.files import Files
    from audit.backend.layout import AdapterFiles, Layout
    from audit.backend.names import is_checkpoint_file, is_checkpoint_of_any, step_of_file
    from audit.backend.names import name_of as checkpoint_name
    from audit.backend.names import step_of as checkpoint_step
    from audit.backend.protocol import ITSELF, Backend
    from audit.backend.rehearsal import OPTIMIZER as OPTIMIZER_PART
    from audit.backend.rehearsal import RANDOM as RANDOM_PART
    from audit.backend.rehearsal import SCHEDULER as SCHEDULER_PART
    from audit.backend.rehearsal import WEIGHTS as WEIGHTS_PART
    from audit.backend.rehearsal import Arrival, Compared, Rehearsal, RehearsalRequest, RehearsingBackend, Replayed
    from audit.backend.signals import caught as catch_signals
    from audit.backend.stateless import Stateless
    from audit.backend.tracker_calls import asking as asking_tracker
    from audit.backend.tracker_calls import within
    from audit.backend.training import (
        Alone,
        BadData,
        Judged,
        LastingBackend,
        LegData,
        LegFailed,
        LegRequest,
        LegResult,
        Note,
        OpenTrackers,
        Phase,
        PlanningBackend,
        Progress,
        ReadExample,
        ReadingBackend,
        Size,
        StartingBackend,
        Step,
        Team,
        Tell,
        TrackingBackend,
        TrainingBackend,
    )
    from audit.config import check_names as check_options
    from audit.config import find as find_config
    from audit.config import read as read_config
    from audit.data.row_formats import IGNORED as IGNORED_LABEL
    from audit.data.row_formats import RowFormat
    from audit.data.rows import checked_rows
    from audit.errors import AuditError, ConfigError, NotApplicable, PluginError, RefusedError, UnreachableError
    from audit.facts.boundaries import Boundary, never_rises
    from audit.facts.boundaries import rises as rate_rises
    from audit.facts.checkpoint import Checkpoint, RunFacts, SessionFacts
    from audit.facts.completeness import CheckpointState, Completeness
    from audit.facts.exchanged import Exchange
    from audit.facts.file import METADATA, File, FileFormat, is_metadata, rank_of_metadata
    from audit.facts.listing import Listing
    from audit.facts.listing import locate as locate_run
    from audit.facts.plan import Plan, Saves
    from audit.facts.recorded import Adapter, WeightFile
    from audit.facts.run import Run, open_run
    from audit.facts.schedules import Schedule
    from audit.facts.series import Point, series, tail
    from audit.facts.series import evaluated as metric_key
    from audit.facts.shards import ShardedState
    from audit.facts.shards import span_name as shard_span_name
    from audit.facts.space import Space
    from audit.facts.spans import zeros_are_normal
    from audit.facts.state_parts import Print, Prints
    from audit.facts.stored import FP32, StoredOptimizer, StoredPartition, StoredState, StoredTensor
    from audit.facts.unread import Unread
    from audit.facts.whole_tensors import WholeTensor
    from audit.facts.world import world_change, world_of
    from audit.facts.zero import ZeroState
    from audit.facts.zero_optimizer import RankOptimizer
    from audit.facts.zero_weights import Apart
    from audit.findings import ACCEPTED, Acceptance, Evidence, Finding, Outcome, RuleOutcome, Severity, Violation
    from audit.formats.damage import Damage
    from audit.formats.damage import Kind as DamageKind
    from audit.formats.history import Entry as LogEntry
    from audit.formats.history import History
    from audit.formats.optimizer import OptimizerState
    from audit.formats.pickle_names import is_dangerous
    from audit.formats.pickle_values import Call as PickleCall
    from audit.formats.pickle_values import Global as PickleGlobal
    from audit.formats.pickle_values import TensorRef
    from audit.formats.rng import RngState
    from audit.formats.safetensors import Safetensors, ShardIndex, read_safetensors
    from audit.formats.safetensors import read_index as read_shard_index
    from audit.formats.scheduler import ScalerState, SchedulerState
    from audit.formats.tensors import Tensor
    from audit.formats.torch_archive import TorchArchive
    from audit.formats.torch_names import loads_by_default, plain_name, refused_in_torch_file
    from audit.formats.trainer_state import StateDocument, TrainerState, read_trainer_state
    from audit.formats.training_args import TrainingArguments, read_training_args
    from audit.formats.zero import EngineState
    from audit.formats.zero import Partition as ZeroPartition
    from audit.hookspecs import (
        Command,
        Context,
        FleetPage,
        Observer,
        Page,
        Reporter,
        StorageOpener,
        Terminal,
        Unaudited,
        hookimpl,
    )
    from audit.judging.decision import Decision, ResumeRefused
    from audit.judging.decision import Limits as GuardLimits
    from audit.judging.guard import Guarded
    from audit.judging.guard import consult as consult_guard
    from audit.judging.judged import judged_of
    from audit.judging.proving import Proof, seal_now
    from audit.judging.proving import prove as prove_run
    from audit.judging.recording import record_start as record_training_start
    from audit.ledger.back_events import GoingBack
    from audit.ledger.batches import Batch
    from audit.ledger.push_events import PushedFile, PushQueued, PushState
    from audit.ledger.seals import Seal
    from audit.ledger.store import Ledger, LedgerError, open_ledger
    from audit.ledger.timeline import Timeline
    from audit.manager import Registry
    from audit.manager import load as load_plugins
    from audit.options import Options
    from audit.page import Curve, FleetGroup, FleetRule, FleetRun, FleetView, Leg, Mark, Placed, RunCurves
    from audit.rehearsal.comparison import judge as judge_rehearsal
    from audit.rehearsal.expected import logged_after, steps_to_train
    from audit.rehearsal.report import RehearsalReport
    from audit.report import BROKEN, SOUND, SUSPECT, CheckpointSummary, Report
    from audit.retention.copying import sync as sync_to_disk
    from audit.retention.lock import RunLock
    from audit.retention.outbox import clear_outbox, place_in_outbox, put_in_outbox
    from audit.retention.pins import keep_apart as detach_pins
    from audit.retention.pins import pin as pin_checkpoint
    from audit.retention.prune import discard as discard_checkpoint
    from audit.retention.prune import prune
    from audit.retention.snapshots import snapshot
    from audit.rules import ANY as ANY_RULE
    from audit.rules import Rule, rule
    from audit.scan import FileScan, SpanScan
    from audit.storage import (
        DIRECTORY,
        FILE,
        LINK,
        SPECIAL,
        TRAINER,
        UPLOAD,
        ContextReader,
        DistantReader,
        Entry,
        LocalStorage,
        RangeReader,
        Storage,
    )
    from audit.text import (
        credentials,
        did_you_mean,
        first_line,
        human_bytes,
        listed,
        minute,
        shortened,
        unix_time,
        utc_time,
        veiled,
    )
    from audit.text import hint as secret_hint
    from audit.text import is_placeholder as is_token_placeholder
    from audit.version import __version__

_HOMES = {
    "audit.api": "guard verify",
    "audit.audit_dir": "AUDIT_DIR LEDGER SCRATCH scratch:scratch_directory",
    "audit.backend.files": "Files",
    "audit.backend.layout": "AdapterFiles Layout",
    "audit.backend.protocol": "Backend ITSELF",
    "audit.backend.names": "is_checkpoint_file is_checkpoint_of_any name_of:checkpoint_name step_of:checkpoint_step step_of_file",
    "audit.backend.rehearsal": "Arrival Compared OPTIMIZER:OPTIMIZER_PART RANDOM:RANDOM_PART Rehearsal RehearsalRequest "
    "RehearsingBackend Replayed SCHEDULER:SCHEDULER_PART WEIGHTS:WEIGHTS_PART",
    "audit.backend.signals": "caught:catch_signals",
    "audit.backend.stateless": "Stateless",
    "audit.backend.tracker_calls": "asking:asking_tracker within",
    "audit.backend.training": "Alone BadData Judged LastingBackend LegData LegFailed LegRequest LegResult Note OpenTrackers Phase PlanningBackend Progress ReadExample "
    "ReadingBackend Size StartingBackend Step Team Tell TrackingBackend TrainingBackend",
    "audit.config": "check_names:check_options find:find_config read:read_config",
    "audit.data.row_formats": "IGNORED:IGNORED_LABEL RowFormat",
    "audit.data.rows": "checked_rows",
    "audit.errors": "AuditError ConfigError NotApplicable PluginError RefusedError UnreachableError",
    "audit.facts.boundaries": "Boundary never_rises rises:rate_rises",
    "audit.facts.checkpoint": "Checkpoint RunFacts SessionFacts",
    "audit.facts.completeness": "CheckpointState Completeness",
    "audit.facts.file": "File FileFormat METADATA is_metadata rank_of_metadata",
    "audit.facts.listing": "Listing locate:locate_run",
    "audit.facts.plan": "Plan Saves",
    "audit.facts.recorded": "Adapter WeightFile",
    "audit.facts.run": "Run open_run",
    "audit.facts.schedules": "Schedule",
    "audit.facts.series": "Point evaluated:metric_key series tail",
    "audit.facts.shards": "ShardedState span_name:shard_span_name",
    "audit.facts.space": "Space",
    "audit.facts.spans": "zeros_are_normal",
    "audit.facts.stored": "FP32 StoredOptimizer StoredPartition StoredState StoredTensor",
    "audit.facts.unread": "Unread",
    "audit.facts.exchanged": "Exchange",
    "audit.facts.state_parts": "Print Prints",
    "audit.facts.whole_tensors": "WholeTensor",
    "audit.facts.world": "world_change world_of",
    "audit.facts.zero": "ZeroState",
    "audit.facts.zero_optimizer": "RankOptimizer",
    "audit.facts.zero_weights": "Apart",
    "audit.findings": "ACCEPTED Acceptance Evidence Finding Outcome RuleOutcome Severity Violation",
    "audit.formats.damage": "Damage Kind:DamageKind",
    "audit.formats.history": "Entry:LogEntry History",
    "audit.formats.optimizer": "OptimizerState",
    "audit.formats.pickle_names": "is_dangerous",
    "audit.formats.pickle_values": "Call:PickleCall Global:PickleGlobal TensorRef",
    "audit.formats.rng": "RngState",
    "audit.formats.safetensors": "Safetensors ShardIndex read_index:read_shard_index read_safetensors",
    "audit.formats.scheduler": "ScalerState SchedulerState",
    "audit.formats.tensors": "Tensor",
    "audit.formats.torch_archive": "TorchArchive",
    "audit.formats.torch_names": "loads_by_default plain_name refused_in_torch_file",
    "audit.formats.trainer_state": "StateDocument TrainerState read_trainer_state",
    "audit.formats.zero": "EngineState Partition:ZeroPartition",
    "audit.formats.training_args": "TrainingArguments read_training_args",
    "audit.hookspecs": "Context FleetPage Page Reporter StorageOpener Unaudited hookimpl Command Observer Terminal",
    "audit.judging.decision": "Decision Limits:GuardLimits ResumeRefused",
    "audit.judging.judged": "judged_of",
    "audit.judging.guard": "Guarded consult:consult_guard",
    "audit.judging.proving": "Proof prove:prove_run seal_now",
    "audit.judging.recording": "record_start:record_training_start",
    "audit.ledger.seals": "Seal",
    "audit.ledger.back_events": "GoingBack",
    "audit.ledger.batches": "Batch",
    "audit.ledger.push_events": "PushQueued PushState PushedFile",
    "audit.ledger.store": "Ledger LedgerError open_ledger",
    "audit.ledger.timeline": "Timeline",
    "audit.manager": "Registry load:load_plugins",
    "audit.options": "Options",
    "audit.page": "Curve FleetGroup FleetRule FleetRun FleetView Leg Mark Placed RunCurves",
    "audit.rehearsal.comparison": "judge:judge_rehearsal",
    "audit.rehearsal.expected": "logged_after steps_to_train",
    "audit.rehearsal.report": "RehearsalReport",
    "audit.report": "BROKEN CheckpointSummary Report SOUND SUSPECT",
    "audit.retention.copying": "sync:sync_to_disk",
    "audit.retention.lock": "RunLock",
    "audit.retention.outbox": "clear_outbox place_in_outbox put_in_outbox",
    "audit.retention.pins": "keep_apart:detach_pins pin:pin_checkpoint",
    "audit.retention.prune": "discard:discard_checkpoint prune",
    "audit.retention.snapshots": "snapshot",
    "audit.rules": "ANY:ANY_RULE Rule rule",
    "audit.scan": "FileScan SpanScan",
    "audit.storage": "ContextReader DIRECTORY DistantReader Entry FILE LINK LocalStorage RangeReader SPECIAL Storage TRAINER UPLOAD",
    "audit.text": "credentials did_you_mean first_line hint:secret_hint human_bytes is_placeholder:is_token_placeholder listed minute shortened utc_time unix_time veiled",
    "audit.version": "__version__",
}
"""The names by the module that defines them; ``name:other``: it is called ``other`` here."""

_FROM = {
    name.rpartition(":")[2]: (module, name.partition(":")[0])
    for module, names in _HOMES.items()
    for name in names.split()
}

DEPRECATED: dict[str, str] = {}
"""Old names, each with the name that replaces it. An old name works, and warns, for at least one minor release."""


if not TYPE_CHECKING:  # or every misspelt name would be a value of any type

    def __getattr__(name: str) -> Any:
        """Import a name at its first use; warn about a deprecated one."""
        if name in DEPRECATED:
            import warnings

            text = f"audit.plugin.{name} is deprecated; use audit.plugin.{DEPRECATED[name]}"
            warnings.warn(text, DeprecationWarning, stacklevel=2)
            name = DEPRECATED[name]
        if name not in _FROM:
            raise AttributeError(f"module 'audit.plugin' has no attribute '{name}'")
        from importlib import import_module

        module, attribute = _FROM[name]
        found = globals()[name] = getattr(import_module(module), attribute)
        return found

    def __dir__() -> list[str]:
        return sorted(__all__)
