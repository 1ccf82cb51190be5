"""Pages of lists. A page token is opaque, holds the key of the last row, and belongs to one query."""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Generic, TypeVar

from taskplane.server.core.errors import FieldViolation, InvalidFields
from taskplane.server.services.view import TaskView
from taskplane.server.store.reading import MAX_ROWS_BYTES, TaskFilter

T = TypeVar("T")

NOT_ISSUED_HERE = "is not a page token of this server"
# Tokens of this server are shorter: a unit's id has up to 250 characters, and JSON takes up to 12 bytes for each.
_MAX_TOKEN = 5000


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Rows, and the source of page tokens: `key_after` returns the key of the last of a number of rows."""

    items: Sequence[T]
    is_last: bool
    fingerprint: str
    key_after: Callable[[int], int | str]

    @property
    def next_token(self) -> str:
        """Return the token of the next page; empty on the last."""
        return self.token_after(len(self.items))

    def token_after(self, count: int) -> str:
        """Return the token of the next page if this page ends after `count` rows; empty if no rows are left."""
        if self.is_last and count == len(self.items):
            return ""
        return page_token(self.fingerprint, self.key_after(count))


@dataclass(frozen=True, slots=True)
class TaskPage:
    """Tasks, the token of the next page, and on request the total, up to COUNT_CAP + 1.

    A cut page has fewer tasks than its size allows, because the tasks are large.
    """

    tasks: Sequence[TaskView]
    next_token: str
    total: int | None
    is_cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskQuery:
    """The filter, order, size (1 to 1000) and position of a page of tasks.

    `skip` is for APIs with numbered pages: the database reads the skipped rows, so `skip` must be small.
    """

    filter: TaskFilter
    newest_first: bool = True
    page_size: int = 50
    page_token: str = ""
    skip: int = 0
    include_total: bool = False
    # The page ends early if the documents of its tasks exceed this size in JSON.
    max_bytes: int = MAX_ROWS_BYTES
    # The time limit of the query.
    seconds: float | None = None

    @property
    def fingerprint(self) -> str:
        """Return the identity of the query, equal for all its pages."""
        content = json.dumps([asdict(self.filter), self.newest_first], default=str, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def token_after(self, task_id: int) -> str:
        """Return the token of the page after this task."""
        return page_token(self.fingerprint, task_id)


def page_token(fingerprint: str, key: int | str) -> str:
    """Return the token of the page after the row with this key."""
    return base64.urlsafe_b64encode(json.dumps([fingerprint, key]).encode()).decode().rstrip("=")


def is_page_token(text: str) -> bool:
    """Return whether a text is empty or a page token of this server, for any list."""
    return not text or (len(text) <= _MAX_TOKEN and _content(text) is not None)


def read_page_token(token: str, fingerprint: str) -> int | None:
    """Return the key in a token, or None for an empty token. Raises InvalidFields for a token of another query."""
    if not token:
        return None
    key = _read(token, fingerprint)
    if not isinstance(key, int) or not 0 <= key < 2**63:
        raise _invalid(NOT_ISSUED_HERE)
    return int(key)


def read_text_page_token(token: str, fingerprint: str) -> str:
    """Return the key in a token of a list whose keys are texts; empty for an empty token."""
    key = _read(token, fingerprint) if token else ""
    if not isinstance(key, str):
        raise _invalid(NOT_ISSUED_HERE)
    return key


def _read(token: str, fingerprint: str) -> object:
    content = _content(token)
    if content is None:
        raise _invalid(NOT_ISSUED_HERE)
    written_for, key = content
    if written_for != fingerprint:
        raise _invalid("belongs to another list: use it with the same filter and order that gave it")
    return key


def _content(token: str) -> tuple[object, object] | None:
    try:
        written_for, key = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError, TypeError, RecursionError):
        return None
    return written_for, key


def _invalid(why: str) -> InvalidFields:
    return InvalidFields(FieldViolation("page_token", why))
