"""Bounds of request fields: the one definition for the gRPC API's checks and the REST API's schemas."""

# Texts, in characters.
MAX_NAME = 255
MAX_UNIT_TYPE = 100
MAX_ACTOR = 255
MAX_REASON = 1000
MAX_REQUEST_ID = 64
MAX_LABEL_VALUE = 255

MAX_PRIORITY = 1000
MAX_RETRIES = 1000
# Slots of a unit.
MAX_CAPACITY = 10_000
MAX_CHECKPOINT_NUMBER = 2**62
# Ten years: longer than any task, and far from the overflow of times.
MAX_DURATION_SECONDS = 10 * 366 * 24 * 3600
# Progress events of a watch per task and second.
DEFAULT_PROGRESS_RATE = 2
MAX_PROGRESS_RATE = 100

# Entries of a list or a map.
MAX_LABELS = 32
MAX_BATCH = 1000
MAX_WATCHED = 1000
# More than the number of statuses, since a filter may repeat one.
MAX_STATUSES = 16
MAX_FILTER_TYPES = 100
MAX_MASK_PATHS = 32

# Rows of a page.
MAX_PAGE = 1000
DEFAULT_PAGE = 50
# Transitions and commands are smaller than tasks.
DEFAULT_HISTORY_PAGE = 100
