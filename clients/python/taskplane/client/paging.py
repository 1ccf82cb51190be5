"""The shape of a page of a list."""

from typing import Protocol, TypeVar


class Page(Protocol):
    """The response to a list call."""

    @property
    def next_page_token(self) -> str:
        """Token of the next page; empty on the last page."""


AnyPage = TypeVar("AnyPage", bound=Page)
