"""The guide's synchronous API, over the same runtime as `ironcliw`.

One `ironcliw.Runtime` a process is made at the first use and shared by everything here, except
`RustRuntimeManager`, which has its own. Calls block without holding the GIL; inside a coroutine they block
its event loop, so new asyncio code should use `ironcliw` instead. Every error is an `ironcliw.Error`, most
of them `ValueError`s too.
"""

from ironcliw import __version__

from .images import (
    RustImageProcessor,
    analyze_spatial_layout,
    analyze_texture,
    calculate_edge_density,
    extract_dominant_colors,
    process_image_batch,
)
from .manager import RustRuntimeManager
from .memory import PooledBuffer, RustAdvancedMemoryPool, RustMemoryPool, TrackedBuffer, ZeroCopyArray
from .model import RustQuantizedModel, quantize_model_weights

__all__ = [
    "PooledBuffer",
    "RustAdvancedMemoryPool",
    "RustImageProcessor",
    "RustMemoryPool",
    "RustQuantizedModel",
    "RustRuntimeManager",
    "TrackedBuffer",
    "ZeroCopyArray",
    "__version__",
    "analyze_spatial_layout",
    "analyze_texture",
    "calculate_edge_density",
    "extract_dominant_colors",
    "process_image_batch",
    "quantize_model_weights",
]
