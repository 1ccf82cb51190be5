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

NOT_OURS = "is not a page token of this server"
# Ours are shorter: a unit's id is up to 250 characters, of which JSON makes up to 12 bytes each.
_MAX_TOKEN = 5000


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Rows, and what makes the tokens of the pages after them: `key_after` gives the key behind so many rows."""

    items: Sequence[T]
    is_last: bool
    fingerprint: str
    key_after: Callable[[int], int | str]

    @property
    def next_token(self) -> str:
        """The token of the next page; empty on the last."""
        return self.token_after(len(self.items))

    def token_after(self, count: int) -> str:
        """Return the token of the next page if this one ends after so many rows; empty if no more are left."""
        if self.is_last and count == len(self.items):
            return ""
        return page_token(self.fingerprint, self.key_after(count))


@dataclass(frozen=True, slots=True)
class TaskPage:
    """Tasks, the token of the next page, and how many there are in all if that was asked, up to COUNT_CAP + 1.

    A page that is cut has fewer tasks than its size allows, since they are large.
    """

    tasks: Sequence[TaskView]
    next_token: str
    total: int | None
    is_cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskQuery:
    """Which tasks, in which order, how many (1 to 1000), and after which page.

    `skip` is for faces that number their pages: the database reads what it skips, so it is to be small.
    """

    filter: TaskFilter
    newest_first: bool = True
    page_size: int = 50
    page_token: str = ""
    skip: int = 0
    include_total: bool = False
    # The page ends early where its tasks' documents have more bytes of JSON than this.
    max_bytes: int = MAX_ROWS_BYTES
    # How long the database may look for them.
    seconds: float | None = None

    @property
    def fingerprint(self) -> str:
        """Names the query: the same for each of its pages."""
        content = json.dumps([asdict(self.filter), self.newest_first], default=str, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def token_after(self, task_id: int) -> str:
        """Return the token of the page after this task."""
        return page_token(self.fingerprint, task_id)


def page_token(fingerprint: str, key: int | str) -> str:
    """Return the token of the page after the row with this key."""
    return base64.urlsafe_b64encode(json.dumps([fingerprint, key]).encode()).decode().rstrip("=")


def is_page_token(text: str) -> bool:
    """Whether a text is a page token of this server, for whatever list; an empty one gives the first page."""
    return not text or (len(text) <= _MAX_TOKEN and _content(text) is not None)


def read_page_token(token: str, fingerprint: str) -> int | None:
    """Return the key that a token holds, or None for an empty one. Raises InvalidFields if it is of another query."""
    if not token:
        return None
    key = _read(token, fingerprint)
    if not isinstance(key, int) or not 0 <= key < 2**63:
        raise _invalid(NOT_OURS)
    return int(key)


def read_text_page_token(token: str, fingerprint: str) -> str:
    """As `read_page_token`, for lists whose key is a text; empty for an empty token."""
    key = _read(token, fingerprint) if token else ""
    if not isinstance(key, str):
        raise _invalid(NOT_OURS)
    return key


def _read(token: str, fingerprint: str) -> object:
    content = _content(token)
    if content is None:
        raise _invalid(NOT_OURS)
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
