"""One self-contained page: template, style, scripts and data in a single file that needs no network.

Everything that comes from a capture is untrusted. It reaches the page as data only: in a JSON block that
cannot end its element, or compressed; the scripts put it on the page as text nodes. The page's own
Content-Security-Policy names the scripts that may run by their hashes and forbids everything else.
"""

import base64
import gzip
import hashlib
import html
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from string import Template
from typing import Any

import msgspec

from vlmprof_reports.archive import Archive

_IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./(\w+)\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const) (\w+))", re.MULTILINE)
_UNSAFE_IN_SCRIPT = {
    "<": "\\u003c",
    ">": "\\u003e",
    "&": "\\u0026",
    "\u2028": "\\u2028",
    "\u2029": "\\u2029",
}


def render_page(
    *,
    title: str,
    modules: list[str],
    data: Any,
    details: Any,
    archive: Archive | None = None,
    styles: Sequence[str] = ("page",),
) -> str:
    """Put a page together.

    Args:
        modules: names of scripts under `static/`, each after those that it imports from.
        data: what the page shows at once; anything that msgspec encodes.
        details: what it shows a moment later, embedded compressed.
        archive: what it shows in parts, each unpacked when it is needed.
        styles: names of style sheets under `static/`.
    """
    archive = archive or Archive()
    script = bundle(modules)
    plotly = plotly_source()
    template = Template(_resource("templates", "page.html"))
    return template.substitute(
        title=html.escape(title),
        policy=content_security_policy([script, plotly]),
        style="\n".join(_resource("static", f"{name}.css") for name in styles),
        data=embedded_json(data),
        details=embedded_gzip(msgspec.json.encode({**details, "block_lengths": archive.lengths})),
        archive=archive.text(),
        plotly=embedded_gzip(plotly.encode()),
        script=script,
    )


def bundle(modules: list[str]) -> str:
    """Join ES modules into one script: a page from disk cannot import.

    Each module becomes a function of its own scope that returns what it exports.
    """
    return "\n".join(_as_function(name, _resource("static", f"{name}.js")) for name in modules)


def _as_function(name: str, source: str) -> str:
    exports = ", ".join(_EXPORT.findall(source))
    inside = _EXPORT.sub("", _IMPORT.sub(r"const \1 = module_\2;\n", source))
    return f"const module_{name} = (() => {{\n{inside}\nreturn {{ {exports} }};\n}})();"


def content_security_policy(scripts: list[str]) -> str:
    """Nothing from the network, no script but these, no form, no base; styles and pictures inline."""
    hashes = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def embedded_json(value: Any) -> str:
    """JSON that is safe inside a script element, whatever its strings hold."""
    text = msgspec.json.encode(value).decode()
    return re.sub("[<>&\u2028\u2029]", lambda match: _UNSAFE_IN_SCRIPT[match.group()], text)


def embedded_gzip(content: bytes) -> str:
    """Bytes as gzip in base64; the same bytes give the same text on every run."""
    return base64.b64encode(gzip.compress(content, compresslevel=6, mtime=0)).decode()


@cache
def plotly_source() -> str:
    """The script that plotly ships; the page runs it as it is."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _resource(folder: str, name: str) -> str:
    return (files("vlmprof_reports") / folder / name).read_text(encoding="utf-8")
