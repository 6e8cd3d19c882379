"""What DeepSpeed saves for each process, and the file that says which of it is loaded."""
