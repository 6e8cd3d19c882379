"""What travels as JSON arrives as it was sent."""

import json

from audit.findings import Acceptance, Severity
from audit.fleet.rows import Audited, FindingRow, RunRow
from audit.fleet.tasks import BYTES_A_SECOND, Batch, Order, Task
from audit.options import Options

TASK = Task("/r/\udcff", "/r", "\udcff", "full", True, "digest", 10 * BYTES_A_SECOND, 5, True, 3)


def test_an_order_arrives_with_every_option() -> None:
    options = Options(
        depth="quick",
        select=("loss",),
        ignore=("security/secret",),
        fail_on=None,
        severity={"loss/jump": Severity.INFO},
        rules={"loss/jump": {"share": 0.2}},
        accept=(Acceptance("loss/jump", None, 5, "because", "2027-01-01"),),
        backend="hf-trainer",
        settle_seconds=1.5,
    )
    for order in (Order(options, "basis", 3.0, 1 << 30), Order(Options(), "")):
        assert Order.read(json.loads(json.dumps(order.document()))) == order


def test_a_batch_and_rows_arrive() -> None:
    batch = Batch(7, (TASK, TASK))
    assert Batch.read(json.loads(json.dumps(batch.document()))) == batch
    finding = FindingRow("r", None, "f", 5, "loss/jump", "error", "m", "1", None, "do", True, None)
    row = Audited(RunRow("r", "/", "o", "audited", rules=("a", "b"), notes=("n",)), (finding,))
    assert Audited.read(json.loads(json.dumps(row.document()))) == row


def test_a_large_run_has_more_time_only_if_it_is_read() -> None:
    order = Order(Options(), "", 60.0)
    assert order.limit(TASK) == 70
    assert order.limit(TASK._replace(depth="quick")) == 60
