"""A check of a recipe in the processor in which nothing is amiss."""

from vlmprof.model.verification import PixelsCompared, ProcessorCheck

PROCESSED = ProcessorCheck(
    recipes=[1],
    images=["a.jpg"],
    refused="",
    refused_without="",
    ids_equal=True,
    ranges_equal=True,
    pixels=PixelsCompared(max_difference=0.0, mean_difference=0.0),
    failures=0,
)
