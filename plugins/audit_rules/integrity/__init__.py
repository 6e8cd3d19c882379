"""Every byte is as it was written: JSON, safetensors, checksums of torch archives, the digests of the seal."""
