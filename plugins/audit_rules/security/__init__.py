"""No code in pickles, no path that leads out, nothing that explodes, no token in the files."""
