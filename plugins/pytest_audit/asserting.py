"""``assert_sound(run)``, for tests of your own. Works in any test runner: nothing of pytest is needed."""

import os
from collections.abc import Iterable, Sequence

from audit.plugin import ConfigError, Options, Registry, Report, Rule, Severity, check_options, load_plugins, verify
from pytest_audit.text import AuditWarning, lines_of, printable


def assert_sound(
    run: str | os.PathLike[str] | Report,
    *,
    warnings: bool = False,
    depth: str = "full",
    select: Iterable[str] = (),
    ignore: Iterable[str] = (),
) -> Report:
    """Assert that a run is sound, and return the report.

    ``run`` is the directory that contains ``checkpoint-N``, one such checkpoint, or an existing report. Findings of
    severity error fail, those of severity warning, too, unless ``warnings`` allows them; accepted ones do not.
    ``depth`` is ``full`` (every byte) or ``quick`` (structure only); ``select`` and ``ignore`` name rules or families.
    No configuration file is read, and nothing is written into the run. Raises AssertionError with the findings and
    remedies, or if a rule crashed, and audit.AuditError if the run could not be judged: no such run, no checkpoint in
    it. A checkpoint that is not judged is an :class:`AuditWarning`: nothing was found against it, and it may not be
    sound.
    """
    __tracebackhide__ = True
    report = run if isinstance(run, Report) else _verified(os.fspath(run), depth, tuple(select), tuple(ignore))
    least = Severity.ERROR if warnings else Severity.WARNING
    failing = [finding for finding in report.counting if finding.severity.rank >= least.rank]
    lines = [line for finding in failing for line in (*lines_of(finding), "")]
    lines += [printable(f"rule {crash.rule} crashed: {crash.reason}; please report this") for crash in report.crashed]
    if lines:
        raise AssertionError("\n".join([f"{printable(report.path)} is not sound", "", *lines, report.resume_in_words]))
    if unread := [item.name for item in report.checkpoints if not item.judged]:
        _warn(
            f"{printable(report.path)}: {unread[-1]} is not judged: a resume reads files of it that are not read here"
        )
    return report


def _warn(text: str) -> None:
    import warnings

    warnings.warn(text, AuditWarning, stacklevel=3)


def _verified(path: str, depth: str, select: tuple[str, ...], ignore: tuple[str, ...]) -> Report:
    if depth not in {"quick", "full"}:
        raise ConfigError(f"assert_sound: depth: {depth!r} is neither quick nor full")
    registry = load_plugins()
    options = Options(depth=depth, select=select, ignore=ignore, ledger=False)
    judging_rules(options, registry, "assert_sound")
    return verify(path, options, registry=registry)


def judging_rules(options: Options, registry: Registry, where: str) -> Sequence[Rule]:
    """Return the selected rules about runs and checkpoints; those about plans are for `audit plan`.

    Raises ConfigError for a name that does not exist, and if no rule is left: judging nothing would prove nothing.
    """
    check_options(options, registry, where)
    found = [rule for rule in options.chosen(registry.rules) if rule.scope in {"run", "checkpoint"}]
    if not found:
        raise ConfigError(f"{where}: no rule about runs is selected and not ignored, so nothing would be judged")
    return found
