"""Rules for names: the same for every API, so that what is stored can be told, and named in a path, by all of them."""

import re

# Patterns without anchors, which Python and the schemas of the REST API understand alike.
TASK_TYPE = r"[A-Za-z0-9._:/-]{1,100}"
TASK_TYPE_MEANING = "must be 1 to 100 characters of A-Z a-z 0-9 . _ : / -"
LABEL_KEY = r"[A-Za-z0-9._/-]{1,63}"
LABEL_KEY_MEANING = "a key is 1 to 63 characters of A-Z a-z 0-9 . _ / -"

_TASK_TYPE = re.compile(TASK_TYPE)


def task_type_problem(name: str) -> str | None:
    """Say what is wrong with the name of a task type, if anything."""
    if not name:
        return "is required"
    return None if _TASK_TYPE.fullmatch(name) else f"is {name[:60]!r}; {TASK_TYPE_MEANING}"
