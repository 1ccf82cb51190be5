"""Print how the Python that runs this file was built: "optimised" or "plain".

An optimised build (with profiling feedback) is a sixth faster. Distributions make optimised builds without always
recording the option; pyenv makes plain ones unless configured otherwise.
"""

import sys
import sysconfig

OLDEST = (3, 11)


def build() -> str:
    """Return how this Python was built."""
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    is_of_a_distribution = sys.base_prefix == "/usr"
    return "optimised" if is_of_a_distribution or "--enable-optimizations" in options else "plain"


if __name__ == "__main__":
    if sys.version_info < OLDEST:
        sys.exit("needs Python 3.11 or newer")
    print(build())
