"""Made checkpoints in the hands of those who must read them: transformers and vLLM."""

import base64
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vlmprof.models import CHECKPOINTS, make_checkpoint

pytestmark = pytest.mark.e2e

# OpenGVLab's own form of InternVL3 is remote code for transformers; only vLLM has its model.
IN_TRANSFORMERS = [name for name in CHECKPOINTS if name != "InternVL3-2B"]
IN_VLLM = os.environ.get("VLMPROF_E2E_MODELS", "").split(",")
SIZES = [(640, 480), (480, 640), (100, 37), (1920, 1080), (1080, 1920), (511, 513), (3000, 3000), (900, 60)]

QUESTION = "What is in this picture?"

CHAT = """
import json, sys
from vllm import LLM, SamplingParams

def main():
    llm = LLM(sys.argv[1], max_model_len=8192, enforce_eager=True, trust_remote_code=sys.argv[2] == "yes")
    content = [{"type": "image_url", "image_url": {"url": sys.argv[3]}}, {"type": "text", "text": sys.argv[4]}]
    sampling = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True)
    answer = llm.chat([{"role": "user", "content": content}], sampling, use_tqdm=False)[0]
    text = answer.outputs[0].text
    with open(sys.argv[5], "w") as file:
        json.dump({"prompt": list(answer.prompt_token_ids), "text": text}, file)

if __name__ == "__main__":
    main()
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes a small checkpoint once."""
    root = tmp_path_factory.mktemp("checkpoints")

    def make(name: str) -> Path:
        if not (root / name).exists():
            make_checkpoint(name, root / name, scale="small")
        return root / name

    return make


@pytest.mark.parametrize("name", IN_TRANSFORMERS)
def test_full_scale_has_every_tensor_of_the_real_model(name: str, tmp_path: Path) -> None:
    """The model that transformers builds from the full config (without memory) has the same shapes as often."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    checkpoint = CHECKPOINTS[name]
    config = checkpoint.config("full")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(tmp_path))
    expected = Counter(tuple(parameter.shape) for parameter in model.parameters())
    assert Counter(tensor.shape for tensor in checkpoint.tensors(config)) == expected


@pytest.mark.parametrize("name", IN_TRANSFORMERS)
def test_transformers_loads_all_weights_and_answers_with_visible_text(
    name: str, made: Callable[[str], Path]
) -> None:
    """No key is missing or left over; the prompt holds the geometry's image tokens; the answer is text."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    folder = made(name)
    processor = AutoProcessor.from_pretrained(folder)
    model, loading = AutoModelForImageTextToText.from_pretrained(
        folder, dtype=torch.bfloat16, output_loading_info=True
    )
    assert not any(loading.values())
    prompt = processor.apply_chat_template(_question(), add_generation_prompt=True)
    inputs = processor(text=prompt, images=[_image()], return_tensors="pt")
    image_tokens = int((inputs["input_ids"] == model.config.image_token_id).sum())
    assert image_tokens == CHECKPOINTS[name].layout(640, 480).tokens
    inputs["pixel_values"] = inputs["pixel_values"].to(torch.bfloat16)
    answer = model.generate(**inputs, max_new_tokens=4, min_new_tokens=4, do_sample=False)
    for token in answer[0, inputs["input_ids"].shape[1] :]:
        assert processor.tokenizer.decode([token]).strip()


@pytest.mark.parametrize("name", IN_TRANSFORMERS)
def test_layouts_are_those_of_the_image_processor(name: str, made: Callable[[str], Path]) -> None:
    """Wide, tall, tiny, square and huge images, by the processor's own count of crops or patches."""
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(made(name))
    for width, height in SIZES:
        layout = CHECKPOINTS[name].layout(width, height)
        assert _count(name, processor, width, height) == (layout.tokens if "Qwen" in name else layout.crops)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_vllm_serves_it(name: str, made: Callable[[str], Path], tmp_path: Path) -> None:
    """One chat with one 640x480 image: the prompt's image tokens are the geometry's, the answer is text."""
    if name not in IN_VLLM:
        pytest.skip("takes a minute; set VLMPROF_E2E_MODELS to the names to try, separated by commas")
    checkpoint = CHECKPOINTS[name]
    out = tmp_path / "answer.json"
    remote_code = "yes" if "--trust-remote-code" in checkpoint.serve_args else "no"
    (tmp_path / "chat.py").write_text(CHAT)
    subprocess.run(
        [sys.executable, tmp_path / "chat.py", made(name), remote_code, _data_url(tmp_path), QUESTION, out],
        env={**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1"},
        timeout=600,
        check=True,
    )
    answer = json.loads(out.read_text())
    tokens = {"SmolVLM": "<image>", "InternVL": "<IMG_CONTEXT>", "Qwen3-VL": "<|image_pad|>"}
    image_token = checkpoint.vocabulary.id_of(tokens[checkpoint.family])
    assert answer["prompt"].count(image_token) == checkpoint.layout(640, 480).tokens
    assert answer["text"].strip()


def _question() -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}]


def _data_url(folder: Path) -> str:
    _image().save(folder / "image.jpg")
    return "data:image/jpeg;base64," + base64.b64encode((folder / "image.jpg").read_bytes()).decode()


def _image() -> Image.Image:
    return Image.radial_gradient("L").resize((640, 480)).convert("RGB")


def _count(name: str, processor: Any, width: int, height: int) -> int:
    """Crops of an image; for Qwen3-VL its tokens, a quarter of its patches."""
    if "Qwen" in name:
        return int(processor.get_number_of_image_patches(height, width, {})) // 4
    if "InternVL" in name:
        return int(processor.get_number_of_image_patches(height, width, {"crop_to_patches": True}))
    return int(processor.get_number_of_image_patches(height, width, {})[0])
