"""Whether a diffusers folder's configs ask for the computation that a packaged graph does.

Tensors show widths and depths; activations, head counts and norms stand in the configs alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from overpaint.bundle.errors import CheckpointError

_NOT_IN_GRAPHS: Final = frozenset(
    {
        # read by the pipeline, not by the network
        *("sample_size", "scaling_factor", "shift_factor", "latents_mean", "latents_std"),
        *("force_upcast", "bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"),
        # only matters in half precision, where the packaged graphs have it
        "upcast_attention",
        # training, saving, and other heads
        *("dropout", "dropout_rate", "attention_dropout", "classifier_dropout"),
        *(
            "initializer_factor",
            "initializer_range",
            "dtype",
            "torch_dtype",
            "transformers_version",
        ),
        *("architectures", "model_type", "projection_dim", "gradient_checkpointing"),
        *("use_cache", "output_past", "tie_word_embeddings", "num_decoder_layers", "n_positions"),
        *("is_encoder_decoder", "is_decoder", "add_cross_attention", "output_hidden_states"),
        *("output_attentions", "return_dict", "chunk_size_feed_forward", "id2label", "label2id"),
        *(
            "problem_type",
            "task_specific_params",
            "scale_decoder_outputs",
            "mid_block_add_attention",
        ),
    }
)


def check_configs(component: str, folder: Mapping[str, Any], graph: Mapping[str, Any]) -> None:
    """Compare a component's config with that of its graph.

    Raises:
        CheckpointError: they disagree on something that the graph computes with.
    """
    for key, wanted in computed_with(graph).items():
        if key in folder and _plain(folder[key]) != _plain(wanted):
            raise CheckpointError(
                f"{component}/config.json says {key} = {folder[key]!r}, and the packaged graph of "
                f"these tensors has {wanted!r}; overpaint export, which needs torch, can take it"
            )


def computed_with(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a config that shows in the graph."""
    return {
        key: value
        for key, value in config.items()
        if key not in _NOT_IN_GRAPHS and not key.startswith("_")
    }


def _plain(value: Any) -> Any:
    """A list that repeats one value as that value; whatever is empty, zero or False as None."""
    if isinstance(value, list | tuple):
        return _plain(value[0]) if value and len(set(map(repr, value))) == 1 else list(value)
    return value or None
