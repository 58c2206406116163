"""`benchmarks/gpu.py` without a GPU: transformers on the CPU, a trace as of a GPU, and the arithmetic of FP8."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.simulated_gpu import SimulatedGpu
from vlmprof.models import make_checkpoint, tokenizer

torch = pytest.importorskip("torch", reason="the models' extra is not installed")
transformers = pytest.importorskip("transformers", reason="the models' extra is not installed")

from benchmarks import gpu, gpu_transformers, gpu_w8a8  # noqa: E402
from benchmarks.gpu_figures import figures_of, layers_beside  # noqa: E402
from benchmarks.gpu_markdown import markdown  # noqa: E402
from benchmarks.gpu_workload import Workload  # noqa: E402

_DECODER_LAYERS = 16
_TOKENS = 4
_WORKLOAD = Workload(rounds=1, per_block=1, warm_up=1, max_tokens=_TOKENS)
_KERNELS = {
    "Linear": ("nvjet_gemm", 3),
    "W8A8Linear": ("cutlass_gemm_e4m3", 2),
    "quantizer": ("quantize_per_token_fp8", 1),
    "LlamaRMSNorm": ("rms_norm_kernel", 1),
}
_CORPUS = tokenizer._corpus


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolVLM with narrow layers, of which the decoder has sixteen: three and more make a pattern."""
    folder = tmp_path_factory.mktemp("gpu") / "smolvlm"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer, "_corpus", lambda: _CORPUS()[:5])
        make_checkpoint("SmolVLM-256M", folder, scale="small")
    return folder


@pytest.fixture(scope="module")
def loaded(checkpoint: Path) -> Any:
    config = transformers.AutoConfig.from_pretrained(checkpoint)
    config.text_config.num_hidden_layers = _DECODER_LAYERS
    model = transformers.AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    processor = transformers.AutoProcessor.from_pretrained(checkpoint)
    return gpu_transformers.Loaded(checkpoint, model.eval(), processor, "cpu")


@pytest.fixture(scope="module")
def runs(loaded: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """bfloat16 and then FP8, under a GPU that is simulated."""
    simulated, folder = SimulatedGpu(_KERNELS), tmp_path_factory.mktemp("runs")
    quantize = gpu_w8a8._quantize_on_device

    def quantize_and_launch(rows: Any) -> Any:
        simulated.launch("quantizer")
        return quantize(rows)

    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu_transformers, "_profiled", simulated.profiled)
        patch.setattr(gpu_w8a8, "_quantize_on_device", quantize_and_launch)
        for precision in gpu.PRECISIONS:
            if precision == "fp8":
                gpu_w8a8.quantize_decoder(loaded.text_model)
            simulated.watch(loaded.model)
            found[precision] = gpu_transformers.measure(loaded, _WORKLOAD, folder / precision, precision)
            for module in loaded.model.modules():
                module._forward_hooks.clear()
    return found


def test_every_kernel_has_its_stage_and_its_phase(runs: dict[str, Any]) -> None:
    """Decode: 3 steps of (7 products in 16 layers, and the head; 2 norms in each layer, and the last)."""
    figures = figures_of(runs["bfloat16"])
    attributed = figures["gpu"]["attributed"]
    assert attributed["work"] == attributed["with_call"] == attributed["with_stage"] > 0
    assert list(figures["phases"]) == ["vision", "prefill", "decode"]
    families = {each["family"]: each["kernels"] for each in figures["phases"]["decode"]["families"]}
    steps = _WORKLOAD.per_block * (_TOKENS - 1)
    assert families == {"gemm": steps * (7 * _DECODER_LAYERS + 1), "norm": steps * (2 * _DECODER_LAYERS + 1)}


def test_stages_are_those_of_the_way_and_add_up(runs: dict[str, Any]) -> None:
    """By the GPU's own times; each request's stages add up to its TTFT, of which nearly all is named."""
    breakdown = json.loads((runs["bfloat16"].results / "breakdown.json").read_bytes())["requests"]
    assert len(breakdown) == _WORKLOAD.requests
    for request in breakdown:
        assert sum(request["stages"].values()) + request["unattributed_ns"] == request["ttft_ns"]
        assert request["unattributed_ns"] < 0.05 * request["ttft_ns"]
    stages = {each["stage"] for each in figures_of(runs["bfloat16"])["stages"]}
    assert stages >= {
        "image_decode",
        "image_transform",
        "h2d",
        "vision_encoder",
        "connector",
        "prefill",
        "launch",
    }


def test_fp8_stands_beside_bfloat16_layer_by_layer(runs: dict[str, Any]) -> None:
    """7 products gain 1 us each; what they take is quantized 4 times, 1 us each: 3 us faster."""
    found = layers_beside(runs["bfloat16"], runs["fp8"])["decode"]
    parts = {each["part"]: each["us"] for each in found["parts"]}
    assert parts["matrix products"] == pytest.approx([21, 14], abs=0.01)
    assert parts["norm, activation and quantization"] == pytest.approx([2, 6], abs=0.01)
    assert found["balance_us"] == pytest.approx(-3, abs=0.01)
    assert {each["name"]: each["counts"] for each in found["kernels"]} == {
        "nvjet_gemm": (7, 0),
        "cutlass_gemm_e4m3": (0, 7),
        "quantize_per_token_fp8": (0, 4),
        "rms_norm_kernel": (2, 2),
    }


def test_the_page_has_every_arm_and_the_pair(runs: dict[str, Any]) -> None:
    """One line an arm in the summary; gains and costs of FP8; no cell is lost to a bar in a name."""
    arms = [
        {"model": "SmolVLM", "engine": "transformers", "precision": name, **figures_of(folder)}
        for name, folder in runs.items()
    ]
    pair = {"model": "SmolVLM", "engine": "transformers", "phases": layers_beside(*runs.values())}
    text = markdown(
        {
            "device": "simulated",
            "scale": "small",
            "workload": _WORKLOAD.as_dict(),
            "arms": arms,
            "fp8": [pair],
            "notes": ["vLLM: not installed"],
        }
    )
    assert "| SmolVLM | transformers | fp8 |" in text
    assert "| matrix products | 21.00 | 14.00 | -7.00 | 1.50x |" in text
    assert "Left out: vLLM: not installed." in text
    for table in text.split("\n\n"):
        rows = [line for line in table.splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) <= 1


def test_without_a_gpu_it_says_so_in_one_line() -> None:
    """Exit code 3, nothing on standard output."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu"],
        cwd=gpu.ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "")
    (line,) = done.stderr.splitlines()
    assert "no NVIDIA GPU" in line


@pytest.mark.parametrize(("device", "scale"), [("cpu", "full"), ("cpu", "small"), ("cuda", "small")])
def test_a_trial_writes_no_results(
    device: str, scale: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is not the full model on a GPU is printed alone."""
    options = argparse.Namespace(device=device, scale=scale)
    empty: dict[str, Any] = {"arms": [], "fp8": [], "notes": ["all"], "workload": _WORKLOAD.as_dict()}
    monkeypatch.setattr(gpu, "_parsed", lambda: options)
    monkeypatch.setattr(gpu, "describe_device", lambda _device: "a device")
    monkeypatch.setattr(gpu, "measure", lambda _options, name: {"device": name, "scale": scale, **empty})
    monkeypatch.setattr("benchmarks.record.RESULTS", Path("/nonexistent"))
    assert gpu.main() == 1
    assert "nothing was written" in capsys.readouterr().out


def test_a_w8a8_layer_is_near_the_layer_that_it_replaces() -> None:
    """FP8 has 3 bits of mantissa: a product of 256 terms is within a few percent; the bias is added."""
    torch.manual_seed(0)
    linear = torch.nn.Linear(256, 128, dtype=torch.bfloat16)
    values = torch.randn(2, 3, 256, dtype=torch.bfloat16)
    exact = linear(values)
    found = gpu_w8a8.W8A8Linear(linear, gpu_w8a8.ActivationQuantizer())(values)
    assert (found.shape, found.dtype) == (exact.shape, torch.bfloat16)
    assert (found - exact).norm() < 0.05 * exact.norm()


def test_layers_with_one_input_quantize_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries, keys and values; another tensor of equal values is another input, and so is what was forgotten."""
    calls: list[Any] = []

    def quantize(rows: Any) -> Any:
        calls.append(rows)
        return gpu_w8a8.quantize_rows(rows)

    monkeypatch.setattr(gpu_w8a8, "_quantize_on_device", quantize)
    quantizer = gpu_w8a8.ActivationQuantizer()
    values = torch.randn(4, 32, dtype=torch.bfloat16)
    for _ in range(3):
        quantizer.rows(values)
    assert len(calls) == 1
    quantizer.rows(values.clone())
    quantizer.forget()
    quantizer.rows(values)
    assert len(calls) == 3


def test_the_gpus_kernel_quantizes_as_torch_does() -> None:
    """Under Triton's interpreter, rows that are no power of two wide, of values that FP8 has times a power of two.

    Other values are left to GPUs: the interpreter does not carry what is rounded up into the exponent.
    """
    pytest.importorskip("triton", reason="Triton is not installed")
    program = """
import torch
from benchmarks.gpu_quantize_triton import quantize_rows
from benchmarks import gpu_w8a8
torch.manual_seed(0)
values = (torch.randn(4, 576) * 100).to(gpu_w8a8.FP8).float()
values[:, 7] = gpu_w8a8.FP8_MAX
values = torch.cat([values * torch.tensor([[0.5], [1.0], [4.0], [-2.0]]), torch.zeros(1, 576)]).bfloat16()
found, expected = quantize_rows(values), gpu_w8a8.quantize_rows(values)
assert torch.equal(found[1], expected[1]), (found[1], expected[1])
assert torch.equal(found[0].float(), expected[0].float())
"""
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=gpu.ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
