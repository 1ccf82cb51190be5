"""The base URL of a unit that is driven over HTTP, and the allowed URLs."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

MAX_LENGTH = 500


class Endpoints:
    """The allowed endpoints: all, or endpoints on the listed hosts and networks (CIDR).

    Host names are compared as written and not resolved, so a network allows addresses only. Raises ValueError for an
    entry that is neither a host nor a network.
    """

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        self._networks = [_network(each) for each in allowed if "/" in each]
        self._hosts = {each.lower() for each in allowed if "/" not in each}
        self._all = not allowed

    def problem(self, endpoint: str) -> str | None:
        """Return the problem with an endpoint, or None."""
        if len(endpoint) > MAX_LENGTH:
            return f"has {len(endpoint)} characters; at most {MAX_LENGTH} are allowed"
        try:
            url = urlsplit(endpoint)
            malformed = _malformed(endpoint, url)
        except ValueError as error:
            return f"is not a URL: {error}"
        if malformed or self._all or self._is_allowed(url.hostname or ""):
            return malformed
        return f"host {url.hostname} is not among the allowed endpoints of this server"

    def _is_allowed(self, host: str) -> bool:
        if host in self._hosts:
            return True
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self._networks)


def _malformed(endpoint: str, url: SplitResult) -> str | None:
    if url.scheme not in {"http", "https"} or not url.hostname:
        return "must be an http or https URL with a host, such as http://processor:8080"
    if url.username is not None or url.query or url.fragment or "?" in endpoint or "#" in endpoint:
        return "must have no user, query or fragment"
    url.hostname.encode("idna")  # raises for an impossible host name
    if url.port == 0 or any(each <= " " or each == "\x7f" for each in endpoint):
        return "must have a port above 0 and no spaces"
    return None


def _network(entry: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(entry)
    except ValueError as error:
        raise ValueError(f"{entry!r} is neither a host name nor a network such as 10.0.0.0/8: {error}") from error
