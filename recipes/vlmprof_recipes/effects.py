"""What each recipe takes out of a request, by model family: functions of the unpatched engine, and bytes.

A share is counted in the bytes that a line reads and writes, since these functions do little but move them: a
pixel of a tile has 3 values, of 4 bytes in float32, 2 in bfloat16 and 1 in uint8, and 8 bytes of mask. Where
that says too little, a share has a spread.
"""

from collections.abc import Mapping

from vlmprof.patching import Adds, Effect, Family, Removes, SendsLess

EffectsByFamily = Mapping[Family, tuple[Effect, ...]]

_PREPROCESS = "Idefics3ImageProcessor._preprocess|SmolVLMImageProcessor._preprocess"
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
_HF_PROCESSOR = "ProcessorMixin.__call__"

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
_FIRST_TOUCH = 0.35
_ZEROS = "processed_images_padded = torch.zeros("
_SMALL_TILES = Removes(_PREPROCESS, "self", 0.25, at=_ZEROS, spread=0.2, part="small tiles")

# Large tensors are given back to the kernel where the processor's call ends: half are padded, half normalized.
_FREEING = Removes("BaseMultiModalProcessor._call_hf_processor", "self", 0.5, spread=_SPREAD)

# PIL's interleaved colours are separated once an image, not once a tile.
_PLANES = Removes("to_tensor", share=0.5, spread=0.15, part="colours")

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
    ),
    Family.INTERNVL_CHAT: (
        Removes(_CHAT_TRANSFORM, share=0.45, spread=0.25),
        Removes(_CHAT_IMAGE, "self", at="torch.stack("),
        Removes("InternVLImageProcessor.__call__", "self", at="torch.cat("),
    ),
    Family.INTERNVL_HF: (
        Removes(_GOT_OCR2, at="self.resize(image=stacked_images"),
        _IN_PLACE,
        Removes("BatchFeature.convert_to_tensors"),
        Removes("concatenate_list"),
        *_GROUPING,
    ),
    # 16 bytes move as one.
    Family.QWEN3_VL: (Removes("Qwen2VLImageProcessor.patchify", share=0.6, spread=0.2),),
}
TENSOR_PROCESSING: EffectsByFamily = {
    Family.INTERNVL_CHAT: (
        Removes("Image.resize", share=0.93, spread=0.05),
        # What is a tensor from the start is not made one tile by tile.
        Removes(_CHAT_TRANSFORM, share=0.1, spread=0.1),
    ),
}
# A CPU resizes in the worker as it did in the API server. Of 640x480, 0.9 MB go in the place of 10.2 MB of uint8
# tiles and 47.7 MB without any recipe; of InternVL's, in the place of 7.8 MB and 15.7 MB.
_RESIZES = (Removes(_RESIZE), Adds(_RESIZE, 1.0, on_device=True))
GPU_PREPROCESS: EffectsByFamily = {
    Family.IDEFICS3: (SendsLess(share=0.19, spread=0.05), *_RESIZES),
    Family.INTERNVL_CHAT: (SendsLess(share=0.44, spread=0.1),),
    Family.INTERNVL_HF: (SendsLess(share=0.44, spread=0.1), *_RESIZES),
}
# Values of 2 bytes in the place of 4, which the engine would only cast.
BF16_NORMALIZE: EffectsByFamily = {
    Family.IDEFICS3: (Removes(_NORMALIZE, share=0.3, spread=0.2), Removes(_CAST), _SMALL_TILES),
    Family.INTERNVL_CHAT: (Removes(_CHAT_TRANSFORM, share=0.1, spread=0.1), Removes(_CAST)),
    Family.INTERNVL_HF: (Removes(_NORMALIZE, share=0.3, spread=0.2), Removes(_CAST)),
}
COMPACT_PLACEHOLDER: EffectsByFamily = {
    Family.INTERNVL_CHAT: (
        Removes(_VIA_TEXT, at="new_token_ids = tokenizer.encode("),
        Removes(_VIA_TEXT, at="tokenizer.decode(update.content.full)"),
    ),
    Family.INTERNVL_HF: (
        Removes("concatenate_list"),
        Removes(_INTERN_S1, "self", at="torch.concat(image_pixel_values)"),
        Removes(_INTERN_S1, at="tokenizer.batch_decode("),
        Removes(_INTERN_S1, at="text_outputs = tokenizer("),
        Removes(_INTERN_S1, at="tokenizer.get_vocab("),
        Removes(_HF_PROCESSOR, at="self.tokenizer(text"),
        Removes(_HF_PROCESSOR, at="self._check_special_mm_tokens("),
        Removes(_HF_PROCESSOR, at="self.get_text_with_replacements("),
    ),
    Family.QWEN3_VL: (
        Removes(_HF_PROCESSOR, at="self.tokenizer(text"),
        Removes(_HF_PROCESSOR, at="self._check_special_mm_tokens("),
        Removes(_HF_PROCESSOR, at="self.get_text_with_replacements("),
    ),
}
UINT8: EffectsByFamily = {
    Family.IDEFICS3: (
        Removes(_NORMALIZE),
        Removes(_CAST),
        SendsLess(_PIXEL_BYTES / 2 / _SENT_BYTES),
        _FREEING,
        _SMALL_TILES,
        *_IN_WORKER,
    ),
    Family.INTERNVL_CHAT: (
        Removes(_CHAT_TRANSFORM, share=0.9, spread=0.1),
        Removes(_CAST),
        SendsLess(0.5),
        Adds(_CHAT_TRANSFORM, 0.25, spread=0.1, on_device=True, unless=_FOLDED),
        _CAST_IN_WORKER,
    ),
    Family.INTERNVL_HF: (
        Removes(_NORMALIZE),
        Removes(_CAST),
        SendsLess(0.5),
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
        SendsLess(_MASK_BYTES / _SENT_BYTES),
    ),
}
AVOID_SPLIT: EffectsByFamily = {
    # Two copies become one, which moves vectors where the first of the two moves bytes.
    Family.IDEFICS3: (Removes(_SPLIT, "self", 0.75, spread=0.15),),
    Family.INTERNVL_CHAT: (
        Removes("dynamic_preprocess_internvl", share=0.6, at="resized_img.crop(", spread=0.2),
        _PLANES,
        Removes(_CHAT_TRANSFORM, share=0.15, spread=0.15),
    ),
    # One copy too, of vectors in the place of bytes.
    Family.INTERNVL_HF: (
        Removes("GotOcr2ImageProcessor.crop_image_to_patches", "self", 0.6, at="torch.stack(", spread=0.15),
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
    Removes("Conv2dLayer._forward_mulmat", at="reshape(", share=0.5, spread=0.2),
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
# First touches of memory that is mapped anew: what is left is the writing itself.
KEEP_MEMORY: EffectsByFamily = {
    Family.IDEFICS3: (
        # Half of the worker's search for padding is memory for what it compares.
        Removes(_SCAN, "self", 0.5, spread=0.15),
        Removes(_PREPROCESS, "self", 0.2, at="= torch.zeros(", spread=0.2),
        Removes(_NORMALIZE, "self", 0.2, spread=0.2),
        Removes("BaseMultiModalProcessor._call_hf_processor", "self", 0.5, spread=0.5),
    ),
    Family.INTERNVL_CHAT: (
        Removes("InternVLImageProcessor.__call__", "self", 0.6, at="torch.cat(", spread=0.3),
    ),
}
