"""A real HTTP server as a unit, on the standard library alone, under the control of its test."""

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

# Long enough for any machine: a test that waits this long is about to fail.
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Request:
    """A request of the server: `route` is `execute`, `pause`, `resume`, `cancel` or `status`."""

    route: str
    task_id: int
    body: Any
    # The path as received, with the unit's prefix.
    path: str

    @property
    def attempt(self) -> int:
        attempt: int = self.body["attempt"]
        return attempt


@dataclass(frozen=True)
class Answer:
    """A response of the unit; a body that is no text goes out as JSON."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: tuple[tuple[str, str], ...] = ()

    def encoded(self) -> bytes:
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()


Script = Callable[[Request], Answer]


def always(status: int = 200, body: Any = None, *headers: tuple[str, str]) -> Script:
    return lambda _: Answer(status, {} if body is None else body, headers)


class ScriptedUnit:
    """Answers 200 to every request but `status`, which gets 404, unless `on` sets another response.

    Listens within its context; `die` and `live` in between. Each request is kept, for `expect`.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._scripts: dict[str, Script] = {"status": always(404)}
        self._unread: list[Request] = []
        self._heard = threading.Condition()
        self._port = 0
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        self.live()
        return self

    def __exit__(self, *_: object) -> None:
        self.die()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def on(self, route: str, script: Script) -> None:
        self._scripts[route] = script

    def live(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), self._handler())
        self._server.daemon_threads = False
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}).start()

    def die(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    async def expect(self, route: str, task_id: int | None = None) -> Request:
        """Wait for a request, each returned once."""
        return await asyncio.to_thread(self._expect, route, task_id)

    def count(self, route: str) -> int:
        return sum(each.route == route for each in self.requests)

    def _expect(self, route: str, task_id: int | None) -> Request:
        def found() -> Request | None:
            return next(
                (each for each in self._unread if each.route == route and task_id in (None, each.task_id)), None
            )

        with self._heard:
            assert self._heard.wait_for(lambda: found() is not None, PATIENCE_SECONDS), f"no {route}: {self.requests}"
            request = found()
            assert request is not None
            self._unread.remove(request)
            return request

    def _take(self, request: Request) -> Answer:
        with self._heard:
            self.requests.append(request)
            self._unread.append(request)
            self._heard.notify_all()
        return self._scripts.get(request.route, always())(request)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        unit = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(None)

            def do_POST(self) -> None:
                self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _answer(self, body: Any) -> None:
                parts = self.path.strip("/").split("/")
                named = parts[-1].isdigit()
                task_id = int(parts[-1]) if named else body["taskId"]
                answer = unit._take(Request(parts[-2] if named else parts[-1], task_id, body, self.path))
                content = answer.encoded()
                self.send_response(answer.status)
                for name, value in (*answer.headers, ("Content-Length", str(len(content)))):
                    self.send_header(name, value)
                self.end_headers()
                try:
                    self.wfile.write(content)
                except (BrokenPipeError, ConnectionResetError):
                    return  # the server has heard enough

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the name of the overridden one)
                pass

        return Handler
