"""docs/reference/states.md shows the server's table."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_states_page_is_current() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "states_page.py"))
    page = script["PAGE"].read_text()
    assert script["with_generated"](page) == page, "run scripts/states_page.py"
    assert script["generated"]() in page
    assert set(script["BY"]) == set(script["edges"]())
