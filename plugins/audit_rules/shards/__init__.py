"""What FSDP saves in shards, with a table that says where each part is."""
