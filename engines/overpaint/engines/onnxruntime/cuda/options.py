"""What the CUDA provider is told, each with its reason. All of it is in this file.

Where the reason is a speed, it is not measured yet: no option has been timed on a GPU so far.
`bench/studies/cuda_options.py` times each against its alternatives.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

CUDA: Final = "CUDAExecutionProvider"

GRAPHS: Final = "enable_cuda_graph"  # of a provider
GRAPH_ID: Final = "gpu_graph_id"  # of a run
NO_GRAPH: Final = "-1"

# The first visible GPU; CUDA_VISIBLE_DEVICES says which that is.
DEVICE: Final = "0"

OPTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "device_id": DEVICE,
        # A denoiser is some thousand kernels a step, launched one by one from the processor; a
        # graph launches them at once. Each shape's is captured when the shape is met again.
        GRAPHS: "1",
        # Blocks as large as asked for. The default doubles each: up to twice the memory, and a
        # size met later starts another doubling.
        "arena_extend_strategy": "kSameAsRequested",
        # Convolutions by cuDNN's heuristics. The default times every algorithm for each of some
        # hundred convolutions whenever a size is new, and the first picture of a size waits for it.
        "cudnn_conv_algo_search": "HEURISTIC",
        # The fastest algorithms in half precision are those that want room.
        "cudnn_conv_use_max_workspace": "1",
        # Layout is left as exported: in NHWC every normalization between two convolutions would be
        # framed by transposes, for it is of groups as channels, which lie apart in that layout.
        "prefer_nhwc": "0",
        # float32 is float32: TF32 keeps 10 bits of a product's 23, and pictures would differ from
        # the checkpoint's in float32. Who wants speed exports float16.
        "use_tf32": "0",
        # 0: ONNX Runtime's own choice among flash, cuDNN, memory-efficient and plain attention.
        "sdpa_kernel": "0",
    }
)

# Not used: `memory.enable_memory_arena_shrinkage`. It gives memory back after each run, and a
# captured graph goes on writing to where its intermediates lay.
