"""Every fault: importing the files of a table fills it."""

from tests.faults import attacks, batches, missing_files, parts, values
from tests.faults.table import FAULTS

__all__ = ["FAULTS", "attacks", "batches", "missing_files", "parts", "values"]
