"""The validation of rows."""

from taskplane.units.data_processing.rules import Check, RuleOptions, make_check


class MissingColumnError(Exception):
    """A rule has no column."""

    def __init__(self, index: int, rule: str, header: tuple[str, ...]) -> None:
        super().__init__(
            f"validationRules[{index}]: there is no column for the rule {rule!r}; columns are: {', '.join(header)}"
        )


class RowCheck:
    """The rules of a task, applied to the columns of its input."""

    def __init__(self, header: tuple[str, ...], rules: tuple[str, ...], options: RuleOptions) -> None:
        """Apply each rule to the columns of its name, in any case. Raises MissingColumnError without one."""
        self._header = header
        self._checks: list[tuple[int, Check]] = []
        for index, rule in enumerate(rules):
            columns = [n for n, name in enumerate(header) if name.strip().casefold() == rule.casefold()]
            if not columns:
                raise MissingColumnError(index, rule, header)
            check = make_check(rule, options)
            self._checks += [(column, check) for column in columns]

    def fault(self, values: list[str]) -> str | None:
        """Return all faults of a row as one text; None for a good row."""
        if len(values) != len(self._header):
            return f"has {len(values)} fields, the header has {len(self._header)}"
        faults = [
            f"{self._header[column]}: {fault}"
            for column, check in self._checks
            if (fault := check(values[column])) is not None
        ]
        return "; ".join(faults) or None
