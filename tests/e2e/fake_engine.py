"""Stands in for vLLM where only the way it fails matters: streams chat completions, and fails as it is told.

    fake_engine.py --model MODEL --host HOST --port PORT [--start-s S] [--first-token-s S] [fault]

It knows nothing of images and has no boundaries for the agent, so that runs against it have no stages.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_STUBBORN_CHILD = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


def main() -> None:
    options = _parse()
    if options.fail_loading:
        sys.exit(f"Traceback (most recent call last):\n{options.fail_loading}")
    if options.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen([sys.executable, "-c", _STUBBORN_CHILD], start_new_session=True)
    time.sleep(options.start_s)
    _serve(options)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="fake")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--start-s", type=float, default=0.0)
    parser.add_argument("--first-token-s", type=float, default=0.01)
    parser.add_argument(
        "--fail-loading", metavar="CAUSE", help="end while loading, with this as the last error"
    )
    parser.add_argument("--die-at", type=int, metavar="N", help="be killed by request N")
    parser.add_argument("--refuse-from", type=int, metavar="N", help="answer 400 from request N on")
    parser.add_argument("--log-bytes", type=int, default=0, help="print so much with every request")
    parser.add_argument("--api-key", default="", help="let only those in who send it, where vLLM asks for it")
    parser.add_argument(
        "--stubborn", action="store_true", help="ignore SIGTERM; a child in its own session too"
    )
    return parser.parse_known_args()[0]


def _serve(options: argparse.Namespace) -> None:
    count = 0

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self._is_refused():
                return
            answers = {
                "/health": b"",
                "/version": b'{"version": "0.32.0+cpu"}',
                "/v1/models": _models(options),
            }
            self._reply(200 if self.path in answers else 404, answers.get(self.path, b"{}"))

        def do_POST(self) -> None:
            nonlocal count
            count += 1
            self.rfile.read(int(self.headers["Content-Length"]))
            if self._is_refused():
                return
            if options.log_bytes:
                os.write(1, b"." * options.log_bytes + b"\n")
            if count == options.die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            if options.refuse_from is not None and count >= options.refuse_from:
                self._reply(400, b'{"error": {"message": "no image wanted"}}')
                return
            _encode_image(options.first_token_s / 2)
            _prefill(options.first_token_s / 2)
            self._reply(200, _stream())

        def _is_refused(self) -> bool:
            """vLLM guards what lies below /v1."""
            wanted = f"Bearer {options.api_key}" if options.api_key else None
            refused = self.path.startswith("/v1") and wanted not in (None, self.headers["Authorization"])
            if refused:
                self._reply(401, b'{"error": "Unauthorized"}')
            return refused

        def _reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    ThreadingHTTPServer((options.host, options.port), Handler).serve_forever()


def _encode_image(takes_s: float) -> None:
    time.sleep(takes_s)


def _prefill(takes_s: float) -> None:
    time.sleep(takes_s)


def _models(options: argparse.Namespace) -> bytes:
    return json.dumps({"data": [{"id": "fake", "root": options.model}]}).encode()


def _stream() -> bytes:
    """Role, one token, usage, end."""
    events: list[dict[str, object]] = [
        {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
        {"choices": [{"delta": {"content": "word"}}]},
        {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 1}},
    ]
    lines = [json.dumps(event) for event in events]
    return "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode()


if __name__ == "__main__":
    main()
