"""Dask: tasks on the cluster that DASK_SCHEDULER_ADDRESS names, or on a local one that lives as long as the command."""

import logging
import os
from collections.abc import Iterator

from distributed import Client, LocalCluster, wait

from audit.fleet.engines import Part
from audit.fleet.engines.window import through
from audit.fleet.supervised import TRIES, audit_batch
from audit.fleet.tasks import Batch, Order


def audit(batches: Iterator[Batch], order: Order, workers: int) -> Iterator[Part]:
    """Audit with one thread for each batch; a batch whose Dask worker is lost is repeated.

    On a cluster the number of workers is that of its threads, and all machines see the runs under the same paths.
    """
    address = os.environ.get("DASK_SCHEDULER_ADDRESS")
    logging.getLogger("distributed").setLevel(logging.ERROR)
    if address:
        client = Client(address)
    else:
        cluster = LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None)
        client = Client(cluster)
    document = order.document()
    try:
        most = 2 * max(1, sum(client.nthreads().values()))
        yield from through(
            batches,
            order,
            most,
            lambda batch: client.submit(audit_batch, document, batch.document(), pure=False, retries=TRIES),
            lambda pending: wait(pending, return_when="FIRST_COMPLETED").done.pop(),
            lambda future: list(future.result()),
        )
    finally:
        client.close()
        if not address:
            cluster.close()
