"""Values of options as an argument gives them: numbers, sizes, seconds, shares. Each raises ArgumentTypeError."""

import argparse
import re
from collections.abc import Callable


def whole(what: str, least: int = 0, most: int = 10**7 - 1) -> Callable[[str], int]:
    """Return the type of a whole number, in ASCII digits; ``what`` names it: "a number of steps"."""

    def value(text: str) -> int:
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
        return number

    return value


def decimal(what: str, least: float, most: float) -> Callable[[str], float]:
    """Return the type of a number; ``what`` names it: "a number of days"."""

    def value(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
        return number

    return value


steps = whole("a number of steps")
processes = whole("a number of processes from 1 to 99999", 1, 99_999)
seconds = decimal("a number of seconds above 0", 1e-3, 1e7)


def share(text: str) -> float:
    """Return a share above 0 and up to 1: ``10%``, ``0.1``."""
    number = text.removesuffix("%")
    try:
        share = float(number) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share above 0 and up to 100%, such as 10%")
    return share


def size(text: str) -> int:
    """Return a size in bytes, above 0: ``500MB``, ``1.5 TB`` in powers of 1000, ``5GiB`` in powers of 1024."""
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([KMGTP]?)(I?)B?", text.upper())
    prefix = found[2] if found is not None else ""
    number = int(float(found[1]) * (1024 if found[3] else 1000) ** " KMGTP".index(prefix or " ")) if found else 0
    if found is None or not number or (found[3] and not prefix):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size above 0, such as 5GB, 500MB or 5GiB")
    return number
