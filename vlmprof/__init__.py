"""vlmprof: where each millisecond of a vision-language model's time to first token goes."""

__version__ = "0.1.0"
