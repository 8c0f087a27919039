"""A real HTTP server on loopback that implements /v1/chat/completions, with the faults of real ones."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ATTRIBUTES = ("coherence", "correctness", "helpfulness", "difficulty")


@dataclass
class Answer:
    """Response of the server to one request: status, headers and body, sent after a delay in seconds."""

    content: str | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    wait: float = 0.0
    cut: str = ""  # "before" or "within" the answer
    usage: bool = True


def true_ratings(text: str) -> dict[str, float]:
    """Ratings that depend on the text alone."""
    digest = blake2b(text.encode(), digest_size=4).digest()
    return {name: (byte % 11) / 2 for name, byte in zip(ATTRIBUTES, digest, strict=True)}


def text_of(prompt: str) -> str:
    """The text or the answer that a prompt holds."""
    match = re.search(r"<(text|answer)-(\w+)>\n(.*)\n</\1-\2>", prompt, re.DOTALL)
    assert match is not None
    return match[3]


@dataclass
class Seen:
    """A request that the server got."""

    text: str
    messages: list[dict[str, str]]
    body: dict[str, Any]
    headers: dict[str, str]
    time: float


Rule = Callable[[str, int], Answer | None]


class JudgeServer(ThreadingHTTPServer):
    """Server whose answers follow a rule of (text, how often this text was asked before); None is a good answer."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, rule: Rule | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.rule: Rule = rule or (lambda text, before: None)
        self.seen: list[Seen] = []
        self.lock = threading.Lock()
        self.active = self.most_active = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def asked(self) -> Counter[str]:
        return Counter(each.text for each in self.seen)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that are killed close their connections; that is no error of the server."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: JudgeServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            self._send(Answer(status=404, content="no such path"), "")
            return
        text, server = text_of(body["messages"][0]["content"]), self.server
        with server.lock:
            before = sum(each.text == text for each in server.seen)
            server.seen.append(Seen(text, body["messages"], body, dict(self.headers), time.monotonic()))
            server.active += 1
            server.most_active = max(server.active, server.most_active)
        try:
            answer = server.rule(text, before) or Answer()
            time.sleep(answer.wait)
            self._send(answer, text)
        finally:
            with server.lock:
                server.active -= 1

    def _send(self, answer: Answer, text: str) -> None:
        if answer.cut == "before":
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        if answer.body is not None:
            payload = answer.body
        elif answer.status != 200:
            payload = json.dumps({"error": {"message": answer.content or "fault", "code": answer.content}}).encode()
        else:
            content = json.dumps(true_ratings(text)) if answer.content is None else answer.content
            message = {"role": "assistant", "content": content}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            found = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
            if answer.usage:
                found["usage"] = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
            payload = json.dumps(found).encode()
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        if answer.cut == "within":
            self.wfile.write(payload[: len(payload) // 2])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        self.wfile.write(payload)


@contextmanager
def judge_server(rule: Rule | None = None) -> Iterator[JudgeServer]:
    """Runs a server in a thread."""
    server = JudgeServer(rule)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
