"""Origins of web pages in the form of browsers: SCHEME://HOST[:PORT]."""

from collections.abc import Mapping
from urllib.parse import urlsplit

_DEFAULT_PORTS: Mapping[str, str] = {"http": "80", "https": "443"}


def read_origin(value: str) -> str:
    """Return an origin of the settings in the form of browsers. Raises ValueError for other texts."""
    if value in ("*", "null"):
        return value
    parts = urlsplit(value.rstrip("/"))
    if not (parts.scheme and parts.hostname) or parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(f"{value!r} is not an origin, such as https://tasks.example.com")
    return f"{parts.scheme}://{without_default_port(parts.scheme, parts.netloc)}"


def without_default_port(scheme: str, place: str) -> str:
    """Return HOST[:PORT] in lower case, without the port that the scheme implies."""
    return place.lower().removesuffix(f":{_DEFAULT_PORTS.get(scheme, '')}")
