"""What run.json says of the machine."""

import pytest

from vlmprof.session.host import _multiplies_bfloat16, describe_host


@pytest.mark.parametrize(
    ("machine", "flags", "multiplies"),
    [
        ("x86_64", "sse2 avx2 fma", False),
        ("x86_64", "avx2 avx512f avx512dq avx512bw avx512vl", True),
        ("x86_64", "avx512f bf16", False),
        ("aarch64", "fp asimd bf16", True),
        ("aarch64", "fp asimd", False),
    ],
)
def test_bfloat16_kernels_are_known_by_the_flags_of_the_cpu(
    machine: str, flags: str, multiplies: bool
) -> None:
    """torch's own check: AVX-512 VL, BW and DQ on x86, BF16 on Arm."""
    assert _multiplies_bfloat16(machine, flags) is multiplies


def test_the_flags_say_what_torch_says() -> None:
    """On the machine of the test, whatever it is."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    assert describe_host().multiplies_bfloat16 is torch.ops.mkldnn._is_mkldnn_bf16_supported()
