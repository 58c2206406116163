"""What each recipe takes out of a request, by model family: functions of the unpatched engine, and bytes.

A share is counted in the bytes that a line reads and writes, since these functions do nothing but move them: a
pixel of a tile has 3 values, of 4 bytes in float32, 2 in bfloat16 and 1 in uint8, and 8 bytes of mask.
"""

from collections.abc import Mapping

from vlmprof.patching import Adds, Effect, Family, Removes, SendsLess

EffectsByFamily = Mapping[Family, tuple[Effect, ...]]

_PREPROCESS = "Idefics3ImageProcessor._preprocess|SmolVLMImageProcessor._preprocess"
_PAD = "Idefics3ImageProcessor.pad|SmolVLMImageProcessor.pad"
_SPLIT = "Idefics3ImageProcessor.split_images|SmolVLMImageProcessor.split_images"
_FEATURES = "Idefics3Model.image_pixels_to_features"
_NORMALIZE = "TorchvisionBackend.rescale_and_normalize"
_CAST = "InputProcessingContext._postprocess_output.<locals>._postprocess_one"

_MASK_BYTES = 8
_PIXEL_BYTES = 3 * 2
_SENT_BYTES = _PIXEL_BYTES + _MASK_BYTES

# Normalizing tile by tile stays in the cache, where the processor passes over all tiles three times.
_IN_WORKER = Adds(_NORMALIZE, 0.45, spread=0.15)

REDUCE_TRANSFORM: EffectsByFamily = {
    Family.IDEFICS3: (
        Removes(_PREPROCESS, "self", at="processed_images_padded = torch.zeros("),
        Removes(_PREPROCESS, "total", at="= self.pad("),
        Removes("group_images_by_shape"),
        Removes("reorder_images"),
    ),
}
UINT8: EffectsByFamily = {
    Family.IDEFICS3: (
        Removes(_NORMALIZE),
        Removes(_CAST),
        SendsLess(_PIXEL_BYTES / 2 / _SENT_BYTES),
        _IN_WORKER,
    ),
}
REMOVE_MASK: EffectsByFamily = {
    Family.IDEFICS3: (
        Removes(_FEATURES, "self"),
        Removes("Idefics3Model.get_patch_attention_mask"),
        Removes(_PREPROCESS, "self", at="pixel_attention_masks = torch.zeros("),
        # Of what is copied tile by tile: 3 values of 4 bytes, 8 of mask.
        Removes(_PREPROCESS, "self", _MASK_BYTES / 20, at="= self.pad("),
        Removes(_PAD),
        SendsLess(_MASK_BYTES / _SENT_BYTES),
    ),
}
AVOID_SPLIT: EffectsByFamily = {
    # Two copies become one.
    Family.IDEFICS3: (Removes(_SPLIT, "self", 0.5, spread=0.2),),
}
