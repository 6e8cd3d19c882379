"""How a process with DeepSpeed is started, and what it trains, whether DeepSpeed is installed or not."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "DS_ACCELERATOR": "cpu"}
CONFIGURATIONS = {
    "ZeRO-1": ["--stage", "1"],
    "ZeRO-2": ["--stage", "2"],
    "ZeRO-3": ["--stage", "3"],
    "ZeRO-1, LoRA": ["--stage", "1", "--lora"],
    "ZeRO-2, LoRA": ["--stage", "2", "--lora"],
    "ZeRO-3, LoRA": ["--stage", "3", "--lora"],
    "ZeRO-1, bf16": ["--stage", "1", "--dtype", "bf16"],
    "ZeRO-2, bf16": ["--stage", "2", "--dtype", "bf16"],
    "ZeRO-3, bf16": ["--stage", "3", "--dtype", "bf16"],
    "ZeRO-2, fp16 with skipped steps": ["--stage", "2", "--dtype", "fp16", "--scale-power", "24"],
    "ZeRO-3, gathered": ["--stage", "3", "--gather"],
}
