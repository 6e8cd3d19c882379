"""Every exception that the core raises on purpose."""


class AuditError(Exception):
    """The audit itself could not be done: one line for the user, exit code 2, no traceback.

    The message says what is wrong, where, and what to do.
    """


class ConfigError(AuditError):
    """A configuration file or a command-line value is not valid."""


class RefusedError(AuditError):
    """The request would do harm now, so nothing was done: one line for the user, exit code 1."""


class PluginError(AuditError):
    """A plugin could not be loaded, or two plugins claim the same name."""


class UnreachableError(AuditError):
    """A storage could not be read (no permission, no such bucket, no network): nothing is known of the run in it."""


class NotApplicable(Exception):
    """A rule cannot be applied here: a fact it needs does not exist or could not be read.

    Raised by facts (``checkpoint.optimizer`` if the file is damaged) and by rules; the engine turns it
    into the outcome "not applicable" with the reason. It is never shown as an error.
    """
