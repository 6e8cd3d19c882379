"""`save_total_limit` is respected, the best checkpoint is kept, and the next deletion takes the right one."""
