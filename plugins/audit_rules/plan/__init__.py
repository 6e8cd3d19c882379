"""The plan fits the checkpoint it would resume from: data, schedule, adapter, disk. Judged before training."""
