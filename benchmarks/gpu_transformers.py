"""A model that transformers serves in this process, measured into a run folder as `vlmprof run` writes it.

Requests go one at a time through image decoding, the processor, the copy to the device and `generate`. Blocks under
torch's profiler alternate with blocks without it: what the profiler costs is measured in the same run.
"""

import io
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers
from PIL import Image
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu_spans import InProcessSpans, TokenTimes
from benchmarks.gpu_w8a8 import quantize_decoder, why_not_w8a8
from benchmarks.gpu_workload import HEIGHT, WIDTH, Trial, Workload
from vlmprof import __version__
from vlmprof.agent.context import current_request
from vlmprof.agent.recorder import now_ns
from vlmprof.model.request import Phase, Request
from vlmprof.model.run_folder import RunFolder
from vlmprof.model.run_info import (
    SCHEMA_VERSION,
    BlockInfo,
    CachePolicy,
    CollectorInfo,
    EngineInfo,
    ModelInfo,
    RunInfo,
    WorkloadInfo,
)
from vlmprof.session.host import describe_host
from vlmprof.session.journal import Journal
from vlmprof.session.pipeline import rebuild
from vlmprof.workload.images import GeneratedImages, WorkloadImage, generated_images
from vlmprof.workload.prompts import DEFAULT_PROMPT, numbered_prompt


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A model on its device, with its processor."""

    path: Path
    model: Any
    processor: Any
    device: str

    @property
    def text_model(self) -> Any:
        """The decoder, whatever its family calls it."""
        inner = self.model.model
        return inner.text_model if hasattr(inner, "text_model") else inner.language_model


def measure_precisions(trial: Trial) -> Iterator[tuple[str, RunFolder]]:
    """The same weights in each precision: FP8 replaces them in place, so it comes last."""
    loaded = load(trial.checkpoint, trial.device)
    for precision in trial.precisions:
        if precision == "fp8":
            if refusal := why_not_w8a8(trial.device):
                trial.notes.append(f"{trial.checkpoint.name} with transformers in FP8: {refusal}")
                continue
            quantize_decoder(loaded.text_model)
        yield precision, measure(loaded, trial.workload, trial.path("transformers", precision), precision)


def load(path: Path, device: str) -> Loaded:
    """A checkpoint in bfloat16."""
    model = transformers.AutoModelForImageTextToText.from_pretrained(path, dtype=torch.bfloat16)
    processor = transformers.AutoProcessor.from_pretrained(path)
    return Loaded(path, model.to(device).eval(), processor, device)


def measure(loaded: Loaded, workload: Workload, out: Path, precision: str) -> RunFolder:
    """Serve the workload and analyse it; replaces the run that `out` may hold."""
    RunFolder(out).remove()
    folder = RunFolder.create(out)
    spans = InProcessSpans(folder.raw)
    journal = Journal(folder, _info(loaded, workload, out.name, precision))
    # One request more: the profiler's first start, which loads CUPTI, is of the warm-up.
    images = generated_images(workload.requests + workload.warm_up + 1, 0, WIDTH, HEIGHT)
    requests = _Requests(loaded, workload, images, spans)
    with torch.inference_mode(), spans.on(loaded.model):
        requests.serve(Phase.WARM_UP, -1, workload.warm_up)
        with TemporaryDirectory() as elsewhere, _profiled(Path(elsewhere, "trace.json"), loaded.device):
            requests.serve(Phase.WARM_UP, -1, 1)
        for block in journal.info.blocks:
            trace = folder.raw / f"torch.{block.index}.pt.trace.json.gz"
            watched = _profiled(trace, loaded.device) if block.phase == Phase.PROFILED else nullcontext()
            with watched:
                served = requests.serve(Phase(block.phase), block.index, workload.per_block)
            for request in served:
                journal.add_request(request)
    spans.flush()
    journal.close("complete")
    rebuild(folder)
    return folder


class _Requests:
    """Serves requests one by one, each with an image and a prompt of its own."""

    def __init__(
        self, loaded: Loaded, workload: Workload, images: GeneratedImages, spans: InProcessSpans
    ) -> None:
        self._loaded, self._workload, self._spans = loaded, workload, spans
        # Drawn now: between two requests it would be time in which the GPU has nothing to do.
        self._images = list(images)
        self._number = 0

    def serve(self, phase: Phase, block: int, count: int) -> list[Request]:
        served = []
        for number in range(self._number, self._number + count):
            image = self._images[number]
            current_request.set(f"request-{number}")
            served.append(self._serve(number, phase, block, image))
        current_request.set(None)
        self._number += count
        return served

    def _serve(self, number: int, phase: Phase, block: int, image: WorkloadImage) -> Request:
        sent_ns = now_ns()
        inputs = self._inputs(number, image)
        tokens = TokenTimes(self._spans)
        count = self._workload.max_tokens
        answer = self._loaded.model.generate(
            **inputs, max_new_tokens=count, min_new_tokens=count, do_sample=False, streamer=tokens
        )
        image_id = self._loaded.model.config.image_token_id
        return Request(
            id=f"request-{number}",
            phase=phase,
            block=block,
            sent_ns=sent_ns,
            first_token_ns=tokens.at_ns[0],
            done_ns=tokens.at_ns[-1],
            prompt_tokens=inputs["input_ids"].shape[1],
            image_tokens=int((inputs["input_ids"] == image_id).sum()),
            output_tokens=len(tokens.at_ns),
            images=(image.info,),
            http_status=200,
            text=self._loaded.processor.decode(
                answer[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
            ),
        )

    def _inputs(self, number: int, image: WorkloadImage) -> Any:
        """From a JPEG's bytes to tensors on the device."""
        span, loaded = self._spans.span, self._loaded
        content = [{"type": "image"}, {"type": "text", "text": numbered_prompt(DEFAULT_PROMPT, number)}]
        with span("image.decode"):
            picture = Image.open(io.BytesIO(image.content)).convert("RGB")
        with span("text.template"):
            prompt = loaded.processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
            )
        with span("mm.hf_processor"):
            inputs = loaded.processor(text=[prompt], images=[picture], return_tensors="pt")
        with span("worker.h2d"):
            return inputs.to(loaded.device, dtype=loaded.model.dtype)


@contextmanager
def _profiled(trace: Path, device: str) -> Iterator[None]:
    """Record with torch's profiler; everything launched inside is in the trace."""
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device == "cuda" else [])
    recorder: AbstractContextManager[Any] = profile(activities=activities)
    with recorder as recording:
        yield
        if device == "cuda":
            torch.cuda.synchronize()
    recording.export_chrome_trace(str(trace))


def _info(loaded: Loaded, workload: Workload, name: str, precision: str) -> RunInfo:
    config = loaded.model.config
    phases = [Phase.CONTROL, Phase.PROFILED] * workload.rounds
    return RunInfo(
        schema_version=SCHEMA_VERSION,
        vlmprof_version=__version__,
        name=name,
        status="running",
        created_unix_ns=time.time_ns(),
        command=sys.argv,
        model=ModelInfo(
            name=loaded.path.name,
            path=str(loaded.path),
            model_type=config.model_type,
            architecture=type(loaded.model).__name__,
            dtype="bfloat16",
        ),
        host=describe_host(),
        engine=EngineInfo(
            name="transformers",
            version=transformers.__version__,
            command=["generate", precision],
            packages={"torch": str(torch.__version__)},
            device=loaded.device,
        ),
        workload=WorkloadInfo(
            image_source=f"generated {WIDTH}x{HEIGHT} JPEG",
            prompt=DEFAULT_PROMPT,
            requests=workload.requests,
            warm_up=workload.warm_up,
            concurrency=1,
            rate_per_s=None,
            max_tokens=workload.max_tokens,
            seed=0,
        ),
        cache_policy=CachePolicy(
            distinct_images=True, distinct_prompts=True, note="transformers caches nothing between requests"
        ),
        blocks=[BlockInfo(index=index, phase=phase.value) for index, phase in enumerate(phases)],
        collectors=[CollectorInfo(name="torch", kind="gpu", version=str(torch.__version__))],
    )
