"""Kernels by family and by layer: real names, sequences made by hand, real recordings."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from tests.unit.gpu_timeline import table
from tests.unit.shared_data import shared_file
from vlmprof.analysis.kernel_comparison import compare_layers
from vlmprof.analysis.kernel_families import FAMILIES, family_of
from vlmprof.analysis.kernel_layers import find_period, layer_starts
from vlmprof.analysis.kernel_phases import breakdown_by_phase
from vlmprof.analysis.kernels import LayerPattern, kernel_breakdown
from vlmprof.cli.main import app
from vlmprof.errors import FileUnreadable, UsageError
from vlmprof.model.tables import GPU_KERNELS
from vlmprof.read.kineto import read_kineto
from vlmprof.session.import_files import import_files


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("nvjet_tst_192x208_64x4_1x1_h_bz_coopB_bias_TNT", "gemm"),
        ("Cijk_Alik_Bljk_BBS_BH_Bias_HA_S_SAV_UserArgs_MT160x256x64_MI16x16x1_SN", "gemm"),
        ("sm80_xmma_gemm_f32f32_f32f32_f32_tn_n_tilesize128x128x8_stage3_execute_kernel__5x_cublas", "gemm"),
        (
            "void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm_relu_bf16_128x64_64x6_tn_align8>",
            "gemm",
        ),
        ("void cutlass::device_kernel<cutlass::gemm::kernel::GemmUniversal<int>>(Params)", "gemm"),
        ("bmm_MxE4m3_MxE2m1MxE4m3_Fp32_t128x16x256u2_s3_clmp_swiGlu_dynBatch_sm100f", "gemm"),
        ("_matmul_ogs_NNT_bf16xbf16xmxfp4_128x128x128x1_swiglu", "gemm"),
        ("void cutlass__5x_cudnn::Kernel<cutlass_tensorop_bf16_s16816fprop_optimized_bf16_256x64>", "gemm"),
        ("void flash::flash_fwd_kernel<Flash_fwd_kernel_traits<(int)128, cutlass::bfloat16_t>>", "attention"),
        ("fmhaSm100aKernel_QkvE4m3OBfloat16H64PagedKvCausalP16VarSeqQ128Kv128", "attention"),
        ("kernel_unified_attention_2d", "attention"),
        ("void vllm::reshape_and_cache_flash_kernel<__hip_bfloat16, __hip_bfloat16>", "attention"),
        ("void vllm::rms_norm_kernel<c10::BFloat16, 8, 2>(c10::BFloat16*)", "norm"),
        ("vllm::fused_add_rms_norm_kernel<c10::BFloat16, 8>(c10::BFloat16*, l", "norm"),
        ("_ZN7ck_tile6kentryILi1ENS_12Rmsnorm2dFwdINS_27Rmsnorm2dFwdPipelineOnePass", "norm"),
        (
            "void at::native::(anonymous namespace)::vectorized_layer_norm_kernel<c10::BFloat16, float>",
            "norm",
        ),
        ("void at::native::vectorized_elementwise_kernel<8, at::native::GeluCUDAKernelImpl>", "activation"),
        ("void at::native::vectorized_elementwise_kernel<4, at::native::silu_kernel>", "activation"),
        ("void vllm::act_and_mul_kernel<c10::BFloat16, &vllm::silu_kernel<c10::BFloat16>>", "activation"),
        ("void vllm::rotary_embedding_kernel<c10::BFloat16, true>(long const*)", "rotary"),
        ("void vllm::scaled_fp8_quant_kernel_strided<c10::BFloat16, c10::Float8_e4m3fn>", "quantize"),
        ("void tensorrt_llm::kernels::quantize_with_block_size<(BlockScaleQuantizationType)2>", "quantize"),
        ("void at::native::(anonymous namespace)::CatArrayBatchedCopy<OpaqueType<2u>, unsigned int>", "copy"),
        ("void at::native::elementwise_kernel<128, 4, direct_copy_kernel_cuda(TensorIteratorBase&)>", "copy"),
        ("void cudnn::engines_precompiled::nchwToNhwcKernel<__nv_bfloat16, __nv_bfloat16>", "copy"),
        ("ncclDevKernel_AllGather_RING_LL(ncclDevKernelArgsStorage<4096ul>)", "communication"),
        ("void (anonymous namespace)::multimem_all_reduce_kernel<c10::BFloat16, 16>", "communication"),
        ("void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, MeanOps<float>>>", "other"),
        ("_topk_forward", "other"),
        ("void deep_gemm::sm90_fp8_gemm_1d2d_impl<7168u, 2112u>", "gemm"),
        ("void marlin::Marlin<__nv_bfloat16, 256, 1, 8, 8, 4>", "gemm"),
        ("gptq_marlin_repack_kernel<4, 256>", "other"),
        ("fused_moe_kernel", "gemm"),
        ("_ZN5aiter44fmoe_bf16_pertokenFp8_g1u1_vs_silu_1tg_32x512E", "gemm"),
        ("void wvSplitK_hf_sml_<__hip_bfloat16, 64, 2, 16, 8, 2, 1>", "gemm"),
        ("triton_tem_fused_addmm_5", "gemm"),
        (
            "void cutlass::device_kernel<at::cuda::detail::enable_3x_kernel_for_sm9x<cutlass::gemm::kernel>>",
            "gemm",
        ),
        ("_causal_conv1d_fwd_kernel", "other"),
        (
            "void cutlass::device_kernel<flash::enable_sm90_or_later<flash::FlashAttnFwdSm90<flash::X>>>",
            "attention",
        ),
        ("void flash::prepare_varlen_num_blocks_kernel<1, true>(int, int)", "attention"),
        ("cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16_knob_7_64x128x128", "attention"),
        ("void vllm::merge_attn_states_kernel<__nv_bfloat16, 128u>", "attention"),
        ("void vllm::concat_and_cache_mla_kernel<__nv_bfloat16, unsigned char>", "attention"),
        ("_attn_fwd", "attention"),
        ("triton_red_fused__to_copy_add_mean_mul_pow_rsqrt_0", "norm"),
        ("l2norm_fwd_kernel", "norm"),
        ("triton_per_fused__scaled_mm_abs_amax_clamp_reciprocal_4", "quantize"),
        ("void vllm::silu_and_mul_per_block_quant_kernel<c10::BFloat16, 128>", "quantize"),
        ("quantize_per_token_fp8", "quantize"),
        ("triton_poi_fused_mul_silu_slice_1", "activation"),
        ("_triton_mrope_forward", "rotary"),
        ("void vllm::cross_device_reduce_1stage<__nv_bfloat16, 8>", "communication"),
        ("", "other"),
    ],
)
def test_real_names_have_their_family(name: str, family: str) -> None:
    """From recordings of H100, B200, MI300 and A100, shortened."""
    assert family_of(name) == family
    assert family in FAMILIES


def _table(names: list[str], duration_ns: list[int]) -> pa.Table:
    """Kernels end to end on stream 7."""
    ends = np.cumsum(duration_ns)
    count = len(names)
    columns = {
        "pid": [1] * count,
        "device": [0] * count,
        "stream": [7] * count,
        "start_ns": ends - duration_ns,
        "end_ns": ends,
        "name": names,
        "correlation_id": range(count),
        "graph_node_id": [None] * count,
    }
    return pa.table({name: pa.array(columns[name]) for name in GPU_KERNELS.names}).cast(GPU_KERNELS)


_LAYER = ["rms_norm_kernel", "gemm_qkv", "flash_fwd_kernel", "gemm_out", "silu_kernel"]


def test_layers_are_found_between_what_comes_once() -> None:
    """An embedding, 6 layers of 5 kernels, a head; layers of 50, 60, ... 100 ns are 75 on average, 17.1 apart."""
    durations = [length for layer in range(6) for length in [10 + 2 * layer] * 5]
    table = _table(["embedding", *_LAYER * 6, "head_gemm"], [3, *durations, 4])
    result = kernel_breakdown(table)
    assert result.layer is not None
    assert (list(result.layer.names), result.layer.layers) == (_LAYER, 6)
    assert result.layer.mean_ns == 75
    assert result.layer.spread_ns == pytest.approx(17.078, abs=0.001)
    assert result.layer.kernel_ns == (15, 15, 15, 15, 15)
    assert result.layer.family_spread_ns["gemm"] == pytest.approx(6.831, abs=0.001)
    assert result.layer.family_ns == {"norm": 15, "gemm": 30, "attention": 15, "activation": 15}


def test_families_add_up_to_all_kernels() -> None:
    """Two products of 10 and 20 ns and a norm of 5: 35 ns, the products first."""
    result = kernel_breakdown(_table(["a_gemm", "rms_norm", "b_gemm"], [10, 5, 20]))
    assert [(each.family, each.kernels, each.total_ns) for each in result.families] == [
        ("gemm", 2, 30),
        ("norm", 1, 5),
    ]
    assert (result.kernels, result.total_ns, result.layer) == (3, 35, None)


def test_two_forward_passes_are_two_runs_of_layers() -> None:
    """4 layers, something else, 4 layers: starts 0, 5, 10, 15 and 21, 26, 31, 36."""
    sequence = np.array([*list(range(5)) * 4, 9, *list(range(5)) * 4])
    assert find_period(sequence, sequence == 1) == 5
    assert layer_starts(sequence, 5).tolist() == [0, 5, 10, 15, 21, 26, 31, 36]


def test_layers_are_counted_from_one_place_in_every_run() -> None:
    """Before the later steps stands 4, as at a layer's end: their runs begin there, one kernel early.

    Steps of three layers 1 2 3 4 and then 9 4; from the commonest place, 4, the first step has two and each other
    three, all of the same kernels.
    """
    step = [1, 2, 3, 4] * 3 + [9, 4]
    sequence = np.array(step * 3)
    starts = layer_starts(sequence, 4)
    assert starts.tolist() == [3, 7, 13, 17, 21, 27, 31, 35]
    assert {tuple(sequence[start : start + 4].tolist()) for start in starts} == {(4, 1, 2, 3)}


def test_the_kernels_of_a_layer_keep_their_times_where_runs_begin_elsewhere() -> None:
    """As above with twenty layers a step, each kernel with a duration of its own: every mean is that duration."""
    step = ["gemm_a", "silu_kernel", "rms_norm", "copy"] * 20 + ["argmax", "copy"]
    length = {"gemm_a": 40, "silu_kernel": 30, "rms_norm": 20, "copy": 10, "argmax": 5}
    layer = kernel_breakdown(_table(step * 3, [length[name] for name in step * 3])).layer
    assert layer is not None
    assert dict(zip(layer.names, layer.kernel_ns, strict=True)) == {
        name: length[name] for name in ("copy", "gemm_a", "silu_kernel", "rms_norm")
    }
    assert layer.spread_ns == 0


def test_a_loop_without_a_matrix_product_is_no_layer() -> None:
    """Sixty elementwise kernels repeat every 4; none of them is a product."""
    sequence = np.tile(np.arange(4), 15)
    assert find_period(sequence, np.zeros(60, np.bool_)) == 0


def test_an_empty_table_has_no_families() -> None:
    """A run on a machine without a GPU."""
    result = kernel_breakdown(GPU_KERNELS.empty_table())
    assert (result.kernels, result.families, result.layer) == (0, [], None)


@pytest.mark.parametrize(
    ("fragment", "kernels", "layers"), [("0702619a", 12, 12), ("2bd22c87", 17, 23), ("e443f32f", 42, 18)]
)
def test_layers_of_real_models_are_found(fragment: str, kernels: int, layers: int) -> None:
    """ViT-base has 12 layers. gpt-oss has 24, of which the first begins otherwise, and in the larger model 36,
    whose attention alternates between two kernels, so that two layers are one period."""
    layer = kernel_breakdown(read_kineto(shared_file("kineto", fragment)).gpu.kernels).layer
    assert layer is not None
    assert (len(layer.names), layer.layers) == (kernels, layers)


def _layers_of(names: list[str], durations_ns: list[int]) -> LayerPattern:
    layer = kernel_breakdown(_table(names * 4, durations_ns * 4)).layer
    assert layer is not None
    return layer


def test_the_balance_of_a_quantized_layer_is_made_of_gains_and_costs() -> None:
    """The paper's figure 4: products gain 1.39 us, 1.1 times; quantization in norm and activation costs 5.50.

    15.29 - 13.90 us of products, 3.00 + 2.00 us against 6.00 + 4.50 us; attention is equal: 4.11 us slower.
    """
    plain = _layers_of(["rms_norm", "gemm_a", "flash_fwd_kernel", "silu_kernel"], [3000, 15290, 700, 2000])
    quantized = _layers_of(
        ["rms_norm_static_fp8_quant", "gemm_fp8", "flash_fwd_kernel", "silu_mul_quant"],
        [6000, 13900, 700, 4500],
    )
    found = compare_layers(plain, quantized)
    assert [(each.part, round(each.change_ns)) for each in found.parts] == [
        ("matrix products", -1390),
        ("norm, activation and quantization", 5500),
        ("everything else", 0),
    ]
    assert found.balance_ns == pytest.approx(4110)
    assert found.parts[0].first_ns / found.parts[0].second_ns == pytest.approx(1.1)
    both = [pair.name for pair in found.kernels if min(pair.counts)]
    assert both == ["flash_fwd_kernel"] == [pair.name for pair in found.kernels[-1:]]
    assert len(found.kernels) == 7


def test_phases_have_their_own_kernels_and_layers() -> None:
    """Vision 1 kernel, decode 4 layers of 5; one kernel is of no phase, and in none of them."""
    names = ["conv2d", *_LAYER * 4, "embedding"]
    phases = ["vision", *["decode"] * 20, None]
    rows = [{"table": "gpu_kernels", "row": row, "phase": phase} for row, phase in enumerate(phases)]
    found = breakdown_by_phase(_table(names, [10] * 22), table("gpu_attribution", rows))
    assert [(phase, each.kernels) for phase, each in found.items()] == [("vision", 1), ("decode", 20)]
    assert found["decode"].layer is not None
    assert found["decode"].layer.layers == 4
    assert breakdown_by_phase(_table(names, [10] * 22), table("gpu_attribution", [])) == {}


def test_the_command_shows_one_run_and_two_side_by_side(tmp_path: Path) -> None:
    """gemm in both, quantization in one; what only one layer has is named."""
    for name, fragment in (("nvidia", "e443f32f"), ("vit", "0702619a")):
        import_files([shared_file("kineto", fragment)], tmp_path / name)
    runner = CliRunner(env={"COLUMNS": "120"})
    one = runner.invoke(app, ["kernels", str(tmp_path / "nvidia"), "--json"])
    assert one.exit_code == 0, one.output
    (document,) = json.loads(one.stdout)
    assert document["families"][0]["family"] == "gemm"
    both = runner.invoke(app, ["kernels", str(tmp_path / "nvidia"), str(tmp_path / "vit")])
    assert both.exit_code == 0, both.output
    for text in ("quantize", "Per layer, us", "A layer, kernel by kernel", "only in", "balance: gains"):
        assert text in both.stdout
    assert "vllm::scaled_fp8_quant_kernel" in both.stdout
    alone = runner.invoke(app, ["kernels", str(tmp_path / "nvidia"), "--phase", "prefill"])
    assert alone.stdout.startswith("Kernels by family in prefill")
    absent = runner.invoke(app, ["kernels", str(tmp_path / "nvidia"), "--phase", "decode"])
    assert isinstance(absent.exception, UsageError)
    assert "there is all, prefill" in absent.exception.message


def test_a_run_without_kernels_is_told(tmp_path: Path) -> None:
    """Stacks alone."""
    path = tmp_path / "stacks.txt"
    path.write_text("main 5\n")
    import_files([path], tmp_path / "run")
    result = CliRunner().invoke(app, ["kernels", str(tmp_path / "run")])
    assert isinstance(result.exception, FileUnreadable)
    assert "no GPU kernels" in result.exception.message
