"""Every byte is what was written: JSON, safetensors, checksums of torch archives, and the digests taken when the checkpoint was proven."""
