"""What each recipe takes out of a request, by model family: functions of the unpatched engine, and bytes.

A share is counted in the bytes that a line reads and writes, since these functions do little but move them: a
pixel of a tile has 3 values, of 4 bytes in float32, 2 in bfloat16 and 1 in uint8, and 8 bytes of mask. Where
that says too little, a share has a spread.
"""

from collections.abc import Mapping

from vlmprof.patching import Adds, Effect, Family, Removes, SendsLess

EffectsByFamily = Mapping[Family, tuple[Effect, ...]]

_PREPROCESS = "Idefics3ImageProcessor._preprocess|SmolVLMImageProcessor._preprocess"
_PAD = "Idefics3ImageProcessor.pad|SmolVLMImageProcessor.pad"
_SPLIT = "Idefics3ImageProcessor.split_images|SmolVLMImageProcessor.split_images"
_GOT_OCR2 = "GotOcr2ImageProcessor._preprocess"
_NORMALIZE = "TorchvisionBackend.rescale_and_normalize"
_CAST = "InputProcessingContext._postprocess_output.<locals>._postprocess_one"
_CHAT_TRANSFORM = "Compose.__call__"
_CHAT_IMAGE = "image_to_pixel_values_internvl"
_INTERN_S1 = "InternS1MultiModalProcessor._apply_hf_processor_main"
_HF_PROCESSOR = "ProcessorMixin.__call__"

_MASK_BYTES = 8
_PIXEL_BYTES = 3 * 2
_SENT_BYTES = _PIXEL_BYTES + _MASK_BYTES

# Tile by tile, normalizing stays in the cache, where the engine's passes over all tiles do not.
_TILE_BY_TILE = 0.45
_SPREAD = 0.15

_GROUPING = (Removes("group_images_by_shape"), Removes("reorder_images"))

REDUCE_TRANSFORM: EffectsByFamily = {
    Family.IDEFICS3: (
        Removes(_PREPROCESS, "self", at="processed_images_padded = torch.zeros("),
        Removes(_PREPROCESS, at="= self.pad("),
        *_GROUPING,
    ),
    Family.INTERNVL_CHAT: (
        Removes(_CHAT_TRANSFORM, share=0.6, spread=0.2),
        Removes(_CHAT_IMAGE, "self", at="torch.stack("),
        Removes("InternVLImageProcessor.__call__", "self", at="torch.cat("),
    ),
    Family.INTERNVL_HF: (
        Removes(_GOT_OCR2, at="self.resize(image=stacked_images"),
        Removes(_NORMALIZE, share=1 - _TILE_BY_TILE, spread=_SPREAD),
        Removes("BatchFeature.convert_to_tensors"),
        Removes("concatenate_list"),
        *_GROUPING,
    ),
    # 16 bytes move as one.
    Family.QWEN3_VL: (Removes("Qwen2VLImageProcessor.patchify", share=0.6, spread=0.2),),
}
TENSOR_PROCESSING: EffectsByFamily = {
    Family.INTERNVL_CHAT: (Removes("Image.resize", share=0.85, spread=0.1),),
}
COMPACT_PLACEHOLDER: EffectsByFamily = {
    Family.INTERNVL_HF: (
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
        Adds(_NORMALIZE, _TILE_BY_TILE, spread=_SPREAD),
    ),
    Family.INTERNVL_CHAT: (
        Removes(_CHAT_TRANSFORM, share=0.9, spread=0.1),
        Removes(_CAST),
        SendsLess(0.5),
        Adds(_CHAT_TRANSFORM, 0.25, spread=0.1),
    ),
    Family.INTERNVL_HF: (
        Removes(_NORMALIZE),
        Removes(_CAST),
        SendsLess(0.5),
        Adds(_NORMALIZE, _TILE_BY_TILE, spread=_SPREAD),
    ),
}
REMOVE_MASK: EffectsByFamily = {
    Family.IDEFICS3: (
        Removes("Idefics3Model.image_pixels_to_features", "self"),
        Removes("Idefics3Model.get_patch_attention_mask"),
        Removes(_PREPROCESS, "self", at="pixel_attention_masks = torch.zeros("),
        # Of what is copied tile by tile: 3 values of 4 bytes, 8 of mask.
        Removes(_PREPROCESS, "self", _MASK_BYTES / (3 * 4 + _MASK_BYTES), at="= self.pad("),
        Removes(_PAD),
        SendsLess(_MASK_BYTES / _SENT_BYTES),
    ),
}
AVOID_SPLIT: EffectsByFamily = {
    # Two copies become one.
    Family.IDEFICS3: (Removes(_SPLIT, "self", 0.5, spread=0.2),),
    Family.INTERNVL_CHAT: (
        Removes("dynamic_preprocess_internvl", share=0.6, at="resized_img.crop(", spread=0.2),
    ),
    Family.INTERNVL_HF: (
        Removes("GotOcr2ImageProcessor.crop_image_to_patches", "self", 0.5, at="torch.stack(", spread=0.2),
    ),
}
