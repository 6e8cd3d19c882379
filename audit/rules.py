"""The ``@rule`` decorator and what it makes of a function.

A rule is a generator over facts. Its parameters *are* its declaration of needs:

* the first one is ``checkpoint``, ``run`` or ``plan`` and gives the scope;
* every other positional parameter names a fact of it (an attribute of :class:`audit.facts.checkpoint.Checkpoint`,
  :class:`audit.facts.run.Run` or :class:`audit.facts.plan.Plan`); if the fact does not exist or could not be read,
  the rule is *not applicable*, and the damaged file is the one finding;
* keyword-only parameters with defaults are thresholds, which the configuration may change.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from audit.errors import PluginError
from audit.findings import Severity, Violation

SCOPES = ("checkpoint", "run", "plan")
ANY = "*"
"""In ``explained_by``: any finding that blocks the same checkpoint, or names the same file of it."""

RuleFunction = Callable[..., Iterator[Violation]]


class Rule(NamedTuple):
    """One named invariant.

    ``id`` is ``family/name``. ``explained_by`` lists rules that are the root cause if both fire on the same checkpoint:
    the finding of this rule is then left out, since one root cause is one finding. ``breaks_exactness``: the checkpoint
    can be resumed from, but not bit for bit; ``--exact`` does not hand it out.
    ``compares_all``: it compares a checkpoint with all others, older and newer ones, and is applied after the others.
    """

    id: str
    function: RuleFunction
    severity: Severity
    blocks_resume: bool
    remedy: str
    scope: str
    needs: tuple[str, ...]
    options: Mapping[str, Any]
    explained_by: tuple[str, ...]
    breaks_exactness: bool = False
    compares_all: bool = False

    @property
    def family(self) -> str:
        """First half of the id."""
        return self.id.partition("/")[0]

    @property
    def blocks(self) -> str:
        """What a finding blocks, in words: "blocks resuming", "blocks resuming with --exact", or an empty string."""
        if self.blocks_resume:
            return "blocks resuming"
        return "blocks resuming with --exact" if self.breaks_exactness else ""

    @property
    def documentation(self) -> str:
        """The docstring without indentation: what is wrong, then why it matters and where the fact comes from."""
        from inspect import getdoc  # takes longer to import than all rules take to judge a checkpoint

        return getdoc(self.function) or ""

    @property
    def title(self) -> str:
        """First line of the docstring."""
        return self.documentation.partition("\n")[0]


def rule(
    severity: Severity,
    *,
    blocks_resume: bool = False,
    remedy: str,
    explained_by: tuple[str, ...] = (),
    breaks_exactness: bool = False,
    compares_all: bool = False,
    id: str | None = None,
) -> Callable[[RuleFunction], Rule]:
    """Make a :class:`Rule` of a generator function.

    The id is the path of the file: ``plugins/audit_rules/files/missing_optimizer.py`` is
    ``files/missing-optimizer``. Raises PluginError if the signature is not that of a rule.
    """

    def make(function: RuleFunction) -> Rule:
        name = id or "/".join(function.__module__.split(".")[-2:]).replace("_", "-")
        code = function.__code__
        positional = code.co_varnames[: code.co_argcount]
        scope = positional[0] if positional else ""
        if scope not in SCOPES:
            raise PluginError(f"rule {name}: its first parameter must be 'checkpoint', 'run' or 'plan', not '{scope}'")
        options = dict(function.__kwdefaults__ or {})
        if set(options) != set(code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]):
            raise PluginError(f"rule {name}: a keyword-only parameter is a threshold and needs a default")
        return Rule(
            name,
            function,
            severity,
            blocks_resume,
            remedy,
            scope,
            tuple(positional[1:]),
            options,
            explained_by,
            breaks_exactness,
            compares_all,
        )

    return make
