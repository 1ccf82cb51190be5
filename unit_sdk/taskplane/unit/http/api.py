"""The HTTP API of a unit: execute, pause, resume, cancel and status, as the server calls them."""

import json
import logging
import re
import sys
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from taskplane.unit.attempt import Attempt
from taskplane.unit.attempt_registry import AttemptRegistry
from taskplane.unit.command_handler import CommandHandler
from taskplane.unit.http import documents
from taskplane.unit.http.documents import Document, InvalidRequest
from taskplane.unit.reports import AttemptKey
from taskplane.unit.runner import Runner
from taskplane.v1.execution_unit_control_pb2 import CommandRejected, RejectReason

logger = logging.getLogger("taskplane.unit")

# Bytes. Config and checkpoint have at most 768 KiB each on the wire, and several times that as JSON.
_MAX_BODY_BYTES = 4 << 20
# Seconds that a class-based executor has to return its status; then the last known one is returned.
_STATUS_SECONDS = 2.0
_CONTROL = re.compile(r"/(pause|resume|cancel)/([1-9][0-9]{0,18})")
_STATUS = re.compile(r"/status/([0-9]{1,19})")

HttpResponse = tuple[HTTPStatus, Document]


class UnitApi:
    """Serves the server's requests, each in a thread.

    The port is bound by the constructor; requests wait until `open`.
    """

    def __init__(
        self, host: str, port: int, registry: AttemptRegistry, command_handler: CommandHandler, runner: Runner
    ) -> None:
        self._registry = registry
        self._command_handler = command_handler
        self._runner = runner
        self._server = UnitHttpServer((host, port), _request_handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, name="taskplane-http", daemon=True)

    @property
    def port(self) -> int:
        """The bound port, also if port 0 was asked for."""
        return int(self._server.server_address[1])

    def open(self) -> None:
        """Start to serve requests."""
        self._thread.start()

    def close(self) -> None:
        """Stop without waiting for requests in progress."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def get(self, path: str) -> HttpResponse:
        """Return the status of an attempt."""
        if (match := _STATUS.fullmatch(path)) is None:
            return HTTPStatus.NOT_FOUND, {"error": "there is no such route"}
        attempt = self._held_attempt(int(match[1]))
        if attempt is None:
            return HTTPStatus.NOT_FOUND, {"error": f"task {match[1]} is not held here"}
        if attempt.is_class_based:
            self._runner.refresh(attempt, _STATUS_SECONDS)
        return HTTPStatus.OK, documents.status(attempt)

    def post(self, path: str, body: Mapping[str, Any]) -> HttpResponse:
        """Execute a command. Raises InvalidRequest."""
        if path == "/execute":
            task_id, attempt = documents.integer(body, "taskId"), documents.integer(body, "attempt", 1)
            return self._handle("execute", task_id, attempt, body)
        if (match := _CONTROL.fullmatch(path)) is None:
            return HTTPStatus.NOT_FOUND, {"error": "there is no such route"}
        task_id = int(match[2])
        held = self._held_attempt(task_id)
        # The default is the attempt that is held.
        attempt = documents.integer(body, "attempt", held.key.attempt if held else 0)
        return self._handle(match[1], task_id, attempt, body)

    def _handle(self, route: str, task_id: int, attempt: int, body: Mapping[str, Any]) -> HttpResponse:
        command = documents.command(route, task_id, attempt, body)
        self._command_handler.handle(command)
        response = self._command_handler.response(command)
        return _rejection(response.rejected) if response.HasField("rejected") else (HTTPStatus.ACCEPTED, {})

    def _held_attempt(self, task_id: int) -> Attempt | None:
        for each in self._registry.inventory():
            if each.task_id == task_id:
                return self._registry.find(AttemptKey(task_id, each.attempt))
        return None


def _rejection(rejected: CommandRejected) -> HttpResponse:
    is_unknown = rejected.reason == RejectReason.REJECT_REASON_UNKNOWN_ATTEMPT
    return HTTPStatus.NOT_FOUND if is_unknown else HTTPStatus.CONFLICT, {"error": rejected.message}


class UnitHttpServer(ThreadingHTTPServer):
    """The HTTP server of a unit."""

    # A stuck request does not keep the process from exiting.
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log why a request failed; a connection that the caller broke is no error of the unit."""
        error = sys.exception()
        if isinstance(error, ConnectionError):
            logger.debug("http: %s has gone before it was answered: %r", client_address, error)
        else:
            logger.error("http: a request of %s failed", client_address, exc_info=error)


class _NoBrowsers(BaseHTTPRequestHandler):
    """Rejects requests of web pages, which could otherwise reach a unit on localhost through a browser."""

    def parse_request(self) -> bool:
        """Read the head of a request. False: the request has been answered."""
        if not super().parse_request():
            return False
        is_from_browser = "Origin" in self.headers or "Sec-Fetch-Site" in self.headers
        if is_from_browser:
            self.send_error(HTTPStatus.FORBIDDEN, "web pages may not call a unit")
        return not is_from_browser


def _request_handler(api: UnitApi) -> type[BaseHTTPRequestHandler]:
    class Handler(_NoBrowsers):
        timeout = 10.0  # seconds for a request to arrive

        def do_GET(self) -> None:
            self._respond(*api.get(self.path))

        def do_POST(self) -> None:
            try:
                self._respond(*api.post(self.path, self._body()))
            except InvalidRequest as error:
                self._respond(HTTPStatus.BAD_REQUEST, {"error": str(error)})

        def _body(self) -> Mapping[str, Any]:
            length = self.headers.get("Content-Length", "0")
            if not length.isdigit() or int(length) > _MAX_BODY_BYTES:
                raise InvalidRequest(f"Content-Length: must be a number up to {_MAX_BODY_BYTES}, not {length!r}")
            try:
                body = json.loads(self.rfile.read(int(length)) or b"{}")
            except ValueError as error:
                raise InvalidRequest(f"the body is not JSON: {error}") from error
            if not isinstance(body, Mapping):
                raise InvalidRequest("the body must be a JSON object")
            return body

        def _respond(self, status: HTTPStatus, document: Document) -> None:
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the overridden parameter
            logger.debug("http: " + format, *args)  # noqa: G003 - `format` is the format

    return Handler
