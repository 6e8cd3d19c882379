"""`save_total_limit` is respected, the best is kept, and the next deletion hits the right checkpoint."""
