"""Which sealed checkpoints are read again though nothing shows that they changed: decay on a disk changes no time."""

import time

from audit.ledger.records import Records

DAY = 86_400


def is_stale(records: Records, checkpoint: str, max_age_days: float | None, now: float | None = None) -> bool:
    """Whether remembered scans of a checkpoint would be used that are older than ``max_age_days``; None: never."""
    if max_age_days is None or not any(name == checkpoint for name, _ in records.scans):
        return False
    read = records.last_read.get(checkpoint, 0.0)
    moment = time.time() if now is None else now
    return moment - read > max_age_days * DAY or read > moment + DAY  # the latter: a clock that was wrong


def due_for_scrub(records: Records, share: float) -> frozenset[str]:
    """Return the checkpoints to read again for a share (0 to 1) of the bytes that are remembered.

    Whole checkpoints, those that were read longest ago first, so that repeated calls get round to each.
    """
    if not share:
        return frozenset()
    sizes: dict[str, int] = {}
    for (name, _), (stamp, _) in records.scans.items():
        if name:
            sizes[name] = sizes.get(name, 0) + _size(stamp)
    wanted, have = share * sum(sizes.values()), 0
    due: list[str] = []
    for name in sorted(sizes, key=lambda name: (records.last_read.get(name, 0.0), name)):
        if have >= wanted:
            break
        due.append(name)
        have += sizes[name]
    return frozenset(due)


def without_scans(records: Records, checkpoints: frozenset[str]) -> Records:
    """Return the records as if nothing was remembered of these checkpoints, so that every byte of them is read."""
    if not checkpoints:
        return records
    # Nor is a judgement of the whole run remembered, which has no name: it rests on them.
    return records._replace(
        scans={key: scan for key, scan in records.scans.items() if key[0] not in {*checkpoints, ""}}
    )


def _size(stamp: str) -> int:
    """The size in a stamp, of a scan that the chain vouches for; see :func:`audit.ledger.scans.stamp_of`."""
    text = stamp.split(":")[1:2]
    return int(text[0]) if text and text[0].isascii() and text[0].isdigit() and len(text[0]) < 19 else 0
