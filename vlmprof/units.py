"""Units: every time is an int of nanoseconds, every size an int of bytes, until it is printed."""

NS_PER_US = 1_000
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000


def ms(time_ns: float) -> float:
    """Nanoseconds as milliseconds."""
    return time_ns / NS_PER_MS


def format_ns(time_ns: float) -> str:
    """A time for people, three significant digits: `"61.3 ms"`, `"850 us"`, `"2.05 s"`."""
    size = abs(time_ns)
    for unit_ns, unit in ((NS_PER_S, "s"), (NS_PER_MS, "ms"), (NS_PER_US, "us")):
        if size >= unit_ns:
            return f"{_three_digits(time_ns / unit_ns)} {unit}"
    return f"{time_ns:.0f} ns"


def format_bytes(size_bytes: float) -> str:
    """A size for people, in powers of 1000 as PCIe and disks are quoted: `"47.7 MB"`."""
    for unit_bytes, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if abs(size_bytes) >= unit_bytes:
            return f"{_three_digits(size_bytes / unit_bytes)} {unit}"
    return f"{size_bytes:.0f} B"


def format_share(share: float) -> str:
    """A fraction of 1 as a percentage with one decimal: `"61.2%"`."""
    return f"{100 * share:.1f}%"


def _three_digits(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
