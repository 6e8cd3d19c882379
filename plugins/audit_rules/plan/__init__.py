"""What is planned fits the checkpoint it would resume from: data, schedule, adapter, disk. Judged before any GPU hour."""
