"""The routes of a unit that is driven over HTTP: execute, pause, resume, cancel and status."""

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
from taskplane.unit.commands import Commands
from taskplane.unit.http import documents
from taskplane.unit.http.documents import BadRequest, Document
from taskplane.unit.reports import AttemptKey
from taskplane.unit.runner import Runner
from taskplane.unit.workload import Workload
from taskplane.v1.execution_unit_control_pb2 import CommandRejected, RejectReason

logger = logging.getLogger("taskplane.unit")

# Config and checkpoint are 768 KiB at most each on the wire; as JSON they may be several times that.
_LARGEST_BODY = 4 << 20
# A class that is asked for its status has so long; then the last known one is told.
_STATUS_SECONDS = 2.0
_CONTROL = re.compile(r"/(pause|resume|cancel)/([1-9][0-9]{0,18})")
_STATUS = re.compile(r"/status/([0-9]{1,19})")

Answer = tuple[HTTPStatus, Document]


class Face:
    """Answers the server's requests, each on a thread of its own. Listens from the beginning.

    `open` begins to answer; until then requests wait.
    """

    def __init__(self, host: str, port: int, workload: Workload, commands: Commands, runner: Runner) -> None:
        self._workload = workload
        self._commands = commands
        self._runner = runner
        self._server = Listener((host, port), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, name="taskplane-http", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens, also if any free port was asked for."""
        return int(self._server.server_address[1])

    def open(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def close(self) -> None:
        """Ends, without regard to requests under way."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def get(self, path: str) -> Answer:
        """Answers how an attempt is."""
        if (asked := _STATUS.fullmatch(path)) is None:
            return HTTPStatus.NOT_FOUND, {"error": "there is no such route"}
        attempt = self._held(int(asked[1]))
        if attempt is None:
            return HTTPStatus.NOT_FOUND, {"error": f"task {asked[1]} is not held here"}
        if attempt.is_steered:
            self._runner.refresh(attempt, _STATUS_SECONDS)
        return HTTPStatus.OK, documents.status(attempt)

    def post(self, path: str, body: Mapping[str, Any]) -> Answer:
        """Carries out a command. Raises BadRequest."""
        if path == "/execute":
            return self._obey("execute", documents.whole(body, "taskId"), documents.whole(body, "attempt", 1), body)
        if (asked := _CONTROL.fullmatch(path)) is None:
            return HTTPStatus.NOT_FOUND, {"error": "there is no such route"}
        task_id = int(asked[2])
        held = self._held(task_id)
        # Without an attempt the one that is held is meant.
        attempt = documents.whole(body, "attempt", held.key.attempt if held else 0)
        return self._obey(asked[1], task_id, attempt, body)

    def _obey(self, route: str, task_id: int, attempt: int, body: Mapping[str, Any]) -> Answer:
        command = documents.command(route, task_id, attempt, body)
        self._commands.obey(command)
        answer = self._commands.answer(command)
        return _refusal(answer.rejected) if answer.HasField("rejected") else (HTTPStatus.ACCEPTED, {})

    def _held(self, task_id: int) -> Attempt | None:
        for each in self._workload.inventory():
            if each.task_id == task_id:
                return self._workload.find(AttemptKey(task_id, each.attempt))
        return None


class Listener(ThreadingHTTPServer):
    """The HTTP server of a unit."""

    # A request that is stuck does not keep the unit from leaving.
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log why a request could not be answered; a connection that the server has broken is no error of the unit."""
        error = sys.exception()
        if isinstance(error, ConnectionError):
            logger.debug("http: %s has gone before it was answered: %r", client_address, error)
        else:
            logger.error("http: a request of %s failed", client_address, exc_info=error)


def _refusal(rejected: CommandRejected) -> Answer:
    is_unknown = rejected.reason == RejectReason.REJECT_REASON_UNKNOWN_ATTEMPT
    return HTTPStatus.NOT_FOUND if is_unknown else HTTPStatus.CONFLICT, {"error": rejected.message}


class _NoPages(BaseHTTPRequestHandler):
    """Refuses what a web page sends: no browser has any business here, but reaches a unit on localhost."""

    def parse_request(self) -> bool:
        """Read the head of a request. False: it has been answered."""
        if not super().parse_request():
            return False
        is_of_a_page = "Origin" in self.headers or "Sec-Fetch-Site" in self.headers
        if is_of_a_page:
            self.send_error(HTTPStatus.FORBIDDEN, "web pages may not call a unit")
        return not is_of_a_page


def _handler(face: Face) -> type[BaseHTTPRequestHandler]:
    class Handler(_NoPages):
        timeout = 10.0  # seconds for a request that does not arrive

        def do_GET(self) -> None:
            self._answer(*face.get(self.path))

        def do_POST(self) -> None:
            try:
                self._answer(*face.post(self.path, self._body()))
            except BadRequest as error:
                self._answer(HTTPStatus.BAD_REQUEST, {"error": str(error)})

        def _body(self) -> Mapping[str, Any]:
            length = self.headers.get("Content-Length", "0")
            if not length.isdigit() or int(length) > _LARGEST_BODY:
                raise BadRequest(f"Content-Length: must be a number up to {_LARGEST_BODY}, not {length!r}")
            try:
                body = json.loads(self.rfile.read(int(length)) or b"{}")
            except ValueError as error:
                raise BadRequest(f"the body is not JSON: {error}") from error
            if not isinstance(body, Mapping):
                raise BadRequest("the body must be a JSON object")
            return body

        def _answer(self, status: HTTPStatus, document: Document) -> None:
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the overridden one
            logger.debug("http: " + format, *args)  # noqa: G003 - it is the format

    return Handler
