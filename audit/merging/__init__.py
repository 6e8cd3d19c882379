"""audit merge: a LoRA adapter into its base model, tensor by tensor, with numpy alone, and the proof of the result."""
