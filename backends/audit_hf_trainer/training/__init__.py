"""Train with the real Trainer. Only this package and ``callback`` import torch, transformers, peft and datasets."""
