"""Settings of Hypothesis: on a busy machine, the duration of an example means nothing."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
