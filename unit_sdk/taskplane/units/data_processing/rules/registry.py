"""The registry of validation rules."""

from collections.abc import Callable
from dataclasses import dataclass

# Returns the fault of a value as text; None for a good value.
Check = Callable[[str], str | None]


@dataclass(frozen=True)
class RuleOptions:
    """Options in the task's config for adjustable rules."""

    phone_region: str | None = None


_makers: dict[str, Callable[[RuleOptions], Check]] = {}


def rule(name: str) -> Callable[[Check], Check]:
    """Register the decorated check as the rule `name`, for the column of that name.

    A check gets a value as it stands in the file. A check runs for each row, so it must be fast and stateless.
    """

    def register(check: Check) -> Check:
        adjustable_rule(name)(lambda _options: check)
        return check

    return register


def adjustable_rule(name: str) -> Callable[[Callable[[RuleOptions], Check]], Callable[[RuleOptions], Check]]:
    """Register the decorated function, which makes a check from the task's options, as the rule `name`."""

    def register(maker: Callable[[RuleOptions], Check]) -> Callable[[RuleOptions], Check]:
        if name in _makers:
            raise ValueError(f"there is a rule {name!r} already")
        _makers[name] = maker
        return maker

    return register


def known_rules() -> list[str]:
    """Return the sorted names of all rules."""
    return sorted(_makers)


def make_check(name: str, options: RuleOptions) -> Check:
    """Return the check of a rule for the options. Raises KeyError for an unknown name."""
    return _makers[name](options)
