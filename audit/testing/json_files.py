"""Write safetensors files and trainer states, byte for byte as the libraries write them."""

import json
from collections.abc import Mapping
from typing import Any

from audit.testing.torch_files import FakeTensor


def safetensors_bytes(tensors: Mapping[str, FakeTensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Return a safetensors file; ``metadata`` is ``{"format": "pt"}`` unless it is given."""
    header: dict[str, Any] = {"__metadata__": dict({"format": "pt"} if metadata is None else metadata)}
    end = 0
    for name, tensor in sorted(tensors.items()):
        begin, end = end, end + len(tensor.data)
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(tensor.data for _, tensor in sorted(tensors.items()))


def state_bytes(document: Mapping[str, Any]) -> bytes:
    """Return a trainer state as ``TrainerState.save_to_json`` writes it."""
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


def trainer_state_text(global_step: int, log_history: list[dict[str, Any]], max_steps: int, **changes: Any) -> bytes:
    """Return a complete trainer state of transformers 5 (20 keys); ``changes`` replace values."""
    document: dict[str, Any] = {
        "best_global_step": None,
        "best_metric": None,
        "best_model_checkpoint": None,
        "epoch": global_step / max_steps,
        "eval_steps": 500,
        "global_step": global_step,
        "is_hyper_param_search": False,
        "is_local_process_zero": True,
        "is_world_process_zero": True,
        "log_history": log_history,
        "logging_steps": 10,
        "max_steps": max_steps,
        "num_input_tokens_seen": 0,
        "num_train_epochs": 1,
        "save_steps": 100,
        "stateful_callbacks": {
            "TrainerControl": {
                "args": {
                    "should_epoch_stop": False,
                    "should_evaluate": False,
                    "should_log": False,
                    "should_save": True,
                    "should_training_stop": global_step >= max_steps,
                },
                "attributes": {},
            }
        },
        "total_flos": global_step * 646656.0,
        "train_batch_size": 2,
        "trial_name": None,
        "trial_params": None,
    }
    return state_bytes({**document, **changes})
