"""Ray: tasks on the cluster that RAY_ADDRESS names, or on a local one that lives as long as the command."""

import os
from collections.abc import Iterator
from typing import Any

import ray

from audit.fleet.engines import Part
from audit.fleet.engines.window import through
from audit.fleet.supervised import TRIES, audit_batch
from audit.fleet.tasks import Batch, Order


def audit(batches: Iterator[Batch], order: Order, workers: int) -> Iterator[Part]:
    """Audit with one CPU for each batch; a batch whose Ray worker is lost is repeated three times.

    On a cluster the number of workers is that of its CPUs, and all machines see the runs under the same paths.
    """
    cluster = os.environ.get("RAY_ADDRESS")
    own = not ray.is_initialized()
    if own:
        local: dict[str, Any] = {} if cluster else {"num_cpus": workers, "include_dashboard": False}
        ray.init(log_to_driver=False, logging_level="error", **local)
    try:
        document = ray.put(order.document())
        run = ray.remote(max_retries=TRIES, num_cpus=1)(audit_batch)
        most = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
        yield from through(
            batches,
            order,
            most,
            lambda batch: run.remote(document, batch.document()),
            lambda pending: ray.wait(pending, num_returns=1)[0][0],
            ray.get,
        )
    finally:
        if own:
            ray.shutdown()
