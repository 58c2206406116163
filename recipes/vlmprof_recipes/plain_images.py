"""Images that recipes treat: PIL's, plain RGB; others go the engine's own way."""

from typing import Any

from PIL import Image


def is_rgb(image: Any) -> bool:
    """Whether an image of a request is a PIL image whose values are pixels' red, green and blue.

    PIL resizes a palette by nearest neighbour, and an alpha channel before it is blended; arrays have any scale.
    """
    return isinstance(image, Image.Image) and image.mode == "RGB"
