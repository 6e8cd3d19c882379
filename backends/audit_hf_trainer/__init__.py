"""The backend for Hugging Face Trainer and PEFT."""
