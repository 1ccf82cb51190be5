"""The rule `email`: the syntax of an address, as the library email-validator checks it.

Internationalised addresses are good. Refused are quoted local parts, IP addresses as domains, domains without a dot and
special-use domains (`.test`, `.local`, …). The existence of the domain is not checked.
"""

import re
from functools import lru_cache

from email_validator import EmailNotValidError, validate_email

from taskplane.units.data_processing.rules.registry import rule

# The library takes about 25 µs for an address, most of it for the domain, and domains repeat. An ASCII dot-atom before
# the only @ is always valid, so such an address is as good as its domain. All other addresses, and every bad one, go to
# the library, which also names the reason.
_ATOM = r"[a-zA-Z0-9_!#$%&'*+\-/=?^`{|}~]+"
_PLAIN = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@([a-zA-Z0-9.\-]+)")
_MOST_CHARACTERS = 254  # of an address, RFC 5321; checked here because it concerns both parts together


@rule("email")
def email(value: str) -> str | None:
    """Return the library's reason why `value` is no e-mail address; None for a good one."""
    plain = _PLAIN.fullmatch(value)
    if plain and len(value) <= _MOST_CHARACTERS and _is_good_domain(plain[1]):
        return None
    return _fault(value)


@lru_cache(maxsize=10_000)
def _is_good_domain(domain: str) -> bool:
    # A Punycode domain changes its length by decoding, so the whole length must be checked each time.
    return "xn--" not in domain.lower() and _fault(f"a@{domain}") is None


def _fault(value: str) -> str | None:
    if not value:
        return "is empty"
    try:
        validate_email(value, check_deliverability=False)
    except EmailNotValidError as error:
        return str(error)
    return None
