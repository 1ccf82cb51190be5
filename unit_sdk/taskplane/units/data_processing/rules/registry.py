"""Which rules there are."""

from collections.abc import Callable
from dataclasses import dataclass

# Says what is wrong with a value, for people; None if nothing is.
Check = Callable[[str], str | None]


@dataclass(frozen=True)
class RuleOptions:
    """What the task's config says to rules that can be adjusted."""

    phone_region: str | None = None


_makers: dict[str, Callable[[RuleOptions], Check]] = {}


def rule(name: str) -> Callable[[Check], Check]:
    """Make the decorated check known as the rule `name`; it is applied to the column of that name.

    A check gets a value as it stands in the file, and is called for each row: keep it fast and free of state.
    """

    def register(check: Check) -> Check:
        adjustable_rule(name)(lambda _options: check)
        return check

    return register


def adjustable_rule(name: str) -> Callable[[Callable[[RuleOptions], Check]], Callable[[RuleOptions], Check]]:
    """Like `rule`, for a function that makes the check out of the task's options."""

    def register(maker: Callable[[RuleOptions], Check]) -> Callable[[RuleOptions], Check]:
        if name in _makers:
            raise ValueError(f"there is a rule {name!r} already")
        _makers[name] = maker
        return maker

    return register


def known_rules() -> list[str]:
    """Return the names of all rules, sorted."""
    return sorted(_makers)


def make_check(name: str, options: RuleOptions) -> Check:
    """Return the check of the rule `name`, adjusted to `options`; KeyError if there is no such rule."""
    return _makers[name](options)
