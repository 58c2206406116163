"""What a GPU kernel does, told by its name: a table of patterns."""

import re

# The first that matches counts: names of fused kernels, and types within names, fit several.
_PATTERNS: tuple[tuple[str, str], ...] = (
    ("communication", r"nccl|rccl|all_?reduce|all_?gather|reduce_scatter"),
    ("quantize", r"(?<!de)quant(?!ized_?gemm)|per_token_cast"),
    ("attention", r"fmha|flash_?(fwd|attn|bwd)|attention|reshape_and_cache|BatchPrefill|BatchDecode"),
    (
        "gemm",
        r"gemm|gemv|nvjet|Cijk_|matmul|(^|\W)bmm_|fprop|xmma|cublas|cutlass\w*::(device_)?Kernel|conv\dd",
    ),
    ("rotary", r"rotary|rope(?![a-z])"),
    ("norm", r"(rms|layer|group)_?norm|triton\w*rsqrt"),
    ("activation", r"silu|gelu|swiglu|relu|tanh_kernel|sigmoid"),
    ("copy", r"copy|memcpy|CatArray|nchwToNhwc|nhwcToNchw|transpose|gather|indexSelect|index_elementwise"),
)
_FAMILIES = tuple((family, re.compile(pattern, re.IGNORECASE)) for family, pattern in _PATTERNS)
FAMILIES = (*(family for family, _ in _FAMILIES), "other")


def family_of(name: str) -> str:
    """The family of a kernel, by its name; `"other"` where no pattern fits."""
    return next((family for family, pattern in _FAMILIES if pattern.search(name)), "other")
