"""What each recipe takes out of a request, by model family: functions of the unpatched engine, and bytes.

A share is counted in the bytes that a line reads and writes, since these functions do little but move them: a
pixel of a tile has 3 values, of 4 bytes in float32, 2 in bfloat16 and 1 in uint8, and 8 bytes of mask. Where
that says too little, a share has a spread.
"""

from collections.abc import Mapping

from vlmprof.patching import Adds, Effect, Family, Removes, SendsLess

EffectsByFamily = Mapping[Family, tuple[Effect, ...]]

_PREPROCESS = "Idefics3ImageProcessor._preprocess|SmolVLMImageProcessor._preprocess"
_PIL_PREPROCESS = "Idefics3ImageProcessorPil._preprocess|SmolVLMImageProcessorPil._preprocess"
_SCAN = "Idefics3Model.image_pixels_to_features"
_PAD = "Idefics3ImageProcessor.pad|SmolVLMImageProcessor.pad"
_SPLIT = "Idefics3ImageProcessor.split_images|SmolVLMImageProcessor.split_images"
_GOT_OCR2 = "GotOcr2ImageProcessor._preprocess"
_RESIZE = "TorchvisionBackend.resize"
_NORMALIZE = "TorchvisionBackend.rescale_and_normalize"
_CAST = "InputProcessingContext._postprocess_output.<locals>._postprocess_one"
_CHAT_TRANSFORM = "Compose.__call__"
_CHAT_IMAGE = "image_to_pixel_values_internvl"
_INTERN_S1 = "InternS1MultiModalProcessor._apply_hf_processor_main"
_VIA_TEXT = "BaseMultiModalProcessor._apply_prompt_updates_via_text"
_HF_PROCESSOR = "ProcessorMixin.__call__|Idefics3Processor.__call__"
# Where transformers processes SmolVLM's images with PIL, as beside vLLM 0.26.
_PIL_PAD = "Idefics3ImageProcessorPil.pad|SmolVLMImageProcessorPil.pad"
_PIL_REFIT = (
    "Idefics3ImageProcessorPil.resize_for_vision_encoder|SmolVLMImageProcessorPil.resize_for_vision_encoder"
)

_MASK_BYTES = 8
_PIXEL_BYTES = 3 * 2
_SENT_BYTES = _PIXEL_BYTES + _MASK_BYTES
# Of what is padded tile by tile: 3 values of 4 bytes, the rest is mask.
_TILE_PIXELS = 3 * 4 / (3 * 4 + _MASK_BYTES)

# Tile by tile, normalizing stays in the cache, where the engine's passes over all tiles do not.
_TILE_BY_TILE = 0.45
_SPREAD = 0.15

# Recipe 14 leaves out again what recipe 8 brings to the worker.
_FOLDED = 14
# The worker casts to the model's type what the API server no longer does.
_CAST_IN_WORKER = Adds(_CAST, 1.0, spread=0.3, on_device=True, unless=_FOLDED)
_IN_WORKER = (
    Adds(_NORMALIZE, _TILE_BY_TILE, spread=_SPREAD, on_device=True, unless=_FOLDED),
    _CAST_IN_WORKER,
)

# A line that fills new memory pays for its page faults. Without it float32 tiles are new memory still, elsewhere:
# measured, a third of the line's time goes, and more of it where tiles are small enough for memory that is kept.
# How much more is a question of what a page fault costs: of half the bytes a quarter on one virtual machine, two
# thirds on another.
_FIRST_TOUCH = 0.35
_ZEROS = "processed_images_padded = torch.zeros("
_HALF_TILES = Removes(_PREPROCESS, "self", 0.45, at=_ZEROS, spread=0.25, part="small tiles")
_QUARTER_TILES = Removes(_PREPROCESS, "self", 0.6, at=_ZEROS, spread=0.25, part="small tiles")

# Large tensors are given back to the kernel where the processor's call ends: half are padded, half normalized.
_FREEING = Removes("BaseMultiModalProcessor._call_hf_processor", "self", 0.5, spread=_SPREAD)

# Of what joins HF-native InternVL's float32 tiles the writing goes, and the page faults with fewer bytes a value.
_JOINED = "BatchFeature.convert_to_tensors"
_NEW_MEMORY = 0.75

# PIL's interleaved colours are separated once an image, not once a tile.
_PLANES = Removes("to_tensor", share=0.1, spread=0.1, part="colours")

# Tiles are normalized where they will lie, one at a time, in the place of two passes over all of them.
_IN_PLACE = Removes(_NORMALIZE, share=0.15, spread=_SPREAD)

_GROUPING = (Removes("group_images_by_shape"), Removes("reorder_images"))

REDUCE_TRANSFORM: EffectsByFamily = {
    Family.IDEFICS3: (
        Removes(_PREPROCESS, "self", 0.35, at=_ZEROS, spread=_FIRST_TOUCH),
        # A mask is still made, in one piece.
        Removes(_PREPROCESS, "self", _TILE_PIXELS, at="= self.pad("),
        _FREEING,
        _IN_PLACE,
        *_GROUPING,
        # An image of 4:3 has the size already that it is resized to, one of 16:9 has not.
        Removes(_PIL_REFIT, share=0.5, spread=0.5),
        Removes(_PIL_PREPROCESS, "self", at='"pixel_values": np.array(images)'),
    ),
    Family.INTERNVL_CHAT: (
        Removes(_CHAT_TRANSFORM, share=0.45, spread=0.25),
        Removes(_CHAT_IMAGE, "self", at="torch.stack("),
        Removes("InternVLImageProcessor.__call__", "self", at="torch.cat("),
    ),
    Family.INTERNVL_HF: (
        Removes(_GOT_OCR2, at="self.resize(image=stacked_images"),
        _IN_PLACE,
        # Tiles are normalized into new memory, whose page faults this copy paid for.
        Removes(_JOINED, share=1 - _NEW_MEMORY, spread=0.25),
        Removes("concatenate_list"),
        *_GROUPING,
    ),
    # 16 bytes move as one.
    Family.QWEN3_VL: (Removes("Qwen2VLImageProcessor.patchify", share=0.6, spread=0.2),),
}
TENSOR_PROCESSING: EffectsByFamily = {
    # What a run with `--baseline pil` shows: for six photos torchvision took 0.25 to 0.39 of PIL's time, and the
    # cast of its tiles half of that of PIL's.
    Family.IDEFICS3: (
        Removes(_PIL_PREPROCESS, share=0.67, spread=0.09),
        Removes(_CAST, share=0.5, spread=0.15),
    ),
    Family.INTERNVL_CHAT: (
        Removes("Image.resize", share=0.93, spread=0.05),
        # What is a tensor from the start is not made one tile by tile.
        Removes(_CHAT_TRANSFORM, share=0.1, spread=0.1),
    ),
}
# vLLM 0.26 gives transformers a text beside the images of every family, later versions of some.
_TEXT_BESIDE_IMAGES = (
    Removes(_HF_PROCESSOR, at="self.tokenizer(text"),
    Removes(_HF_PROCESSOR, at="self._check_special_mm_tokens("),
    Removes(_HF_PROCESSOR, at="self.get_text_with_replacements("),
)
_HF_TEXT = (
    Removes("concatenate_list"),
    Removes(_INTERN_S1, "self", at="torch.concat(image_pixel_values)"),
    Removes(_INTERN_S1, at="tokenizer.batch_decode("),
    Removes(_INTERN_S1, at="text_outputs = tokenizer("),
    Removes(_INTERN_S1, at="tokenizer.get_vocab("),
    *_TEXT_BESIDE_IMAGES,
)
# A CPU resizes in the worker as it did in the API server. Of 640x480, 0.9 MB go in the place of 10.2 MB of uint8
# tiles and 47.7 MB without any recipe; of InternVL's, in the place of 7.8 MB and 15.7 MB.
_RESIZES = (Removes(_RESIZE), Adds(_RESIZE, 1.0, on_device=True))
GPU_PREPROCESS: EffectsByFamily = {
    Family.IDEFICS3: (SendsLess(share=0.19, spread=0.05), *_RESIZES),
    Family.INTERNVL_CHAT: (SendsLess(share=0.25, spread=0.1),),
    # Nothing of the processor's own is left, and whole images are processed without the text, as under 7.
    Family.INTERNVL_HF: (SendsLess(share=0.25, spread=0.1), Removes(_GOT_OCR2), *_RESIZES, *_HF_TEXT),
}
# Values of 2 bytes in the place of 4, which the engine would only cast.
BF16_NORMALIZE: EffectsByFamily = {
    Family.IDEFICS3: (Removes(_NORMALIZE, share=0.3, spread=0.2), Removes(_CAST), _HALF_TILES),
    Family.INTERNVL_CHAT: (
        Removes(_CHAT_TRANSFORM, share=0.05, spread=0.05),
        Removes(_CAST, share=0.3, spread=0.3),
    ),
    Family.INTERNVL_HF: (
        Removes(_NORMALIZE, share=0.1, spread=0.1),
        Removes(_CAST, share=0.3, spread=0.3),
        Removes(_JOINED, share=0.1, spread=0.1),
    ),
}
COMPACT_PLACEHOLDER: EffectsByFamily = {
    Family.IDEFICS3: _TEXT_BESIDE_IMAGES,
    Family.INTERNVL_CHAT: (
        Removes(_VIA_TEXT, at="new_token_ids = tokenizer.encode("),
        Removes(_VIA_TEXT, at="tokenizer.decode(update.content.full)"),
        Removes("InternVLProcessor.__call__", at="self.tokenizer(text"),
    ),
    Family.INTERNVL_HF: _HF_TEXT,
    Family.QWEN3_VL: _TEXT_BESIDE_IMAGES,
}
# Half of the bytes: of the time that InternVL's tiles take, a part is a message's, however short it is.
_INTERNVL_HALF = SendsLess(0.32, spread=0.1)
UINT8: EffectsByFamily = {
    Family.IDEFICS3: (
        Removes("PilBackend.rescale"),
        Removes("PilBackend.normalize"),
        # torch, tile by tile, where numpy makes a transposed copy for each step.
        Adds("PilBackend.normalize", 0.2, spread=0.1, on_device=True, unless=_FOLDED),
        Removes(_NORMALIZE),
        Removes(_CAST),
        SendsLess(_PIXEL_BYTES / 2 / _SENT_BYTES),
        _FREEING,
        _QUARTER_TILES,
        *_IN_WORKER,
    ),
    Family.INTERNVL_CHAT: (
        # Of what 1, which it needs, leaves.
        Removes(_CHAT_TRANSFORM, share=0.25, spread=0.15),
        Removes(_CAST),
        _INTERNVL_HALF,
        Adds(_CHAT_TRANSFORM, 0.2, spread=0.1, on_device=True, unless=_FOLDED),
        _CAST_IN_WORKER,
    ),
    Family.INTERNVL_HF: (
        Removes(_NORMALIZE),
        Removes(_CAST),
        Removes(_JOINED, share=_NEW_MEMORY, spread=0.25),
        _INTERNVL_HALF,
        *_IN_WORKER,
    ),
}
REMOVE_MASK: EffectsByFamily = {
    Family.IDEFICS3: (
        Removes(_SCAN, "self"),
        Removes("Idefics3Model.get_patch_attention_mask"),
        Removes(_PREPROCESS, "self", at="pixel_attention_masks = torch.zeros(", spread=_FIRST_TOUCH),
        Removes(_PREPROCESS, "self", 1 - _TILE_PIXELS, at="= self.pad("),
        Removes(_PAD),
        Removes(_PIL_PAD),
        Removes(_PIL_PREPROCESS, "self", at='"pixel_attention_mask": np.array('),
        SendsLess(_MASK_BYTES / _SENT_BYTES),
    ),
}
AVOID_SPLIT: EffectsByFamily = {
    # Two copies become one, which moves vectors where the first of the two moves bytes.
    Family.IDEFICS3: (Removes(_SPLIT, "self", 0.75, spread=0.15),),
    Family.INTERNVL_CHAT: (
        Removes("dynamic_preprocess_internvl", share=0.3, at="resized_img.crop(", spread=0.3),
        _PLANES,
        Removes(_CHAT_TRANSFORM, share=0.05, spread=0.05),
    ),
    # One copy too, of vectors in the place of bytes.
    Family.INTERNVL_HF: (
        Removes("GotOcr2ImageProcessor.crop_image_to_patches", "self", 0.3, at="torch.stack(", spread=0.3),
    ),
}
# A processor without bfloat16 arithmetic multiplies in a sixth of the time in float32.
_PRODUCTS = "bfloat16 products"
_PATCH_PRODUCT = Removes(
    "Conv?dLayer._forward_mulmat",
    at="F.linear(",
    share=0.8,
    spread=0.1,
    part=_PRODUCTS,
    without_bfloat16=True,
)
# With recipe 8 in the run already, its own functions are in the samples.
_NORMALIZED_IN_WORKER = Removes("normalized|normalized_after_rescaling|normalized_with_rescaling")
_FOLDING = (
    _PATCH_PRODUCT,
    Removes("Conv2dLayer._forward_mulmat", at="reshape(", share=0.2, spread=0.2),
    _NORMALIZED_IN_WORKER,
)
FOLD_NORMALIZATION: EffectsByFamily = {
    Family.IDEFICS3: _FOLDING,
    Family.INTERNVL_CHAT: _FOLDING,
    Family.INTERNVL_HF: _FOLDING,
}
FLOAT32_PRODUCTS: tuple[Effect, ...] = (
    Removes(
        "dispatch_cpu_unquantized_gemm.<locals>.<lambda>",
        at="torch.nn.functional.linear(",
        share=0.8,
        spread=0.1,
        under="*Vision*.forward|Idefics3Connector.forward",
        part=_PRODUCTS,
        without_bfloat16=True,
    ),
    _PATCH_PRODUCT,
)


def _divided(encoder: float, prefill: float) -> tuple[Effect, ...]:
    """Work that two threads do: half of it would go if all were divided, and the second core were theirs alone."""
    return (
        Removes("*._execute_mm_encoder|*.execute_mm_encoder", share=encoder, spread=0.1),
        Removes("*._model_forward|*.run_fullgraph", share=prefill, spread=0.1),
    )


# Qwen3-VL's encoder computes fewer and smaller products.
SECOND_THREAD: EffectsByFamily = {
    Family.IDEFICS3: _divided(encoder=0.38, prefill=0.25),
    Family.INTERNVL_CHAT: _divided(encoder=0.36, prefill=0.35),
    Family.INTERNVL_HF: _divided(encoder=0.36, prefill=0.35),
    Family.QWEN3_VL: _divided(encoder=0.2, prefill=0.15),
}
# First touches of memory that is mapped anew: what is left is the writing itself.
KEEP_MEMORY: EffectsByFamily = {
    Family.IDEFICS3: (
        # Half of the worker's search for padding is memory for what it compares.
        Removes(_SCAN, "self", 0.5, spread=0.15),
        Removes(_PREPROCESS, "self", 0.35, at="= torch.zeros(", spread=0.3),
        Removes(_NORMALIZE, "self", 0.2, spread=0.2),
        Removes("BaseMultiModalProcessor._call_hf_processor", "self", 0.5, spread=0.5),
    ),
    Family.INTERNVL_CHAT: (
        Removes("InternVLImageProcessor.__call__", "self", 0.6, at="torch.cat(", spread=0.3),
    ),
}
