"""What a GPU kernel does, told by its name: a table of patterns."""

import re

# The first that matches counts: names of fused kernels, and types within names, fit several.
_PATTERNS: tuple[tuple[str, str], ...] = (
    ("communication", r"nccl|rccl|all_?reduce|all_?gather|reduce_scatter|cross_device_reduce"),
    # inductor names a fused kernel for what it computes: the largest absolute value is the scale's.
    ("quantize", r"(?<!de)quant(?!ized_?gemm)|per_token_cast|abs_amax"),
    (
        "attention",
        r"fmha|flash_?(fwd|attn|bwd|decode)|\bflash::|attention|sdpa|(^|_)attn_(fwd|states)|reshape_and_cache"
        r"|concat_and_cache|BatchPrefill|BatchDecode",
    ),
    (
        "gemm",
        r"gemm|gemv|nvjet|Cijk_|matmul|(^|\W)bmm_|triton_tem_\w*mm|fprop|xmma|cublas|cutlass\w*::(device_)?Kernel"
        r"|(?<!causal_)conv\dd|winograd|marlin::|machete|wvSplitK|fused_moe_kernel|fmoe_",
    ),
    ("rotary", r"rotary|rope(?![a-z])"),
    ("norm", r"(rms|layer|group|batch|l2)_?norm|triton\w*rsqrt"),
    ("activation", r"silu|gelu|swiglu|relu|tanh_kernel|sigmoid"),
    ("copy", r"copy|memcpy|CatArray|nchwToNhwc|nhwcToNchw|transpose|gather|indexSelect|index_elementwise"),
)
_FAMILIES = tuple((family, re.compile(pattern, re.IGNORECASE)) for family, pattern in _PATTERNS)
FAMILIES = (*(family for family, _ in _FAMILIES), "other")


def family_of(name: str) -> str:
    """The family of a kernel, by its name; `"other"` where no pattern fits."""
    return next((family for family, pattern in _FAMILIES if pattern.search(name)), "other")
