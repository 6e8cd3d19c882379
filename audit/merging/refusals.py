"""What the refusals of audit merge have in common."""

from typing import NoReturn

from audit.errors import RefusedError

WITH_PEFT = "merge it with peft (merge_and_unload), which needs torch and proves nothing"
"""What to do about an adapter that is sound and of a kind that is not merged here."""


def refuse(where: str, what: str, remedy: str = WITH_PEFT) -> NoReturn:
    """Raise RefusedError: where, what is wrong there, what to do."""
    raise RefusedError(f"{where}: {what}; {remedy}")
