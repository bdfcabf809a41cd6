"""Settings of the property tests: the same examples on every run and machine, and no files left behind."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "unit",
    derandomize=True,
    database=None,
    deadline=None,  # A busy machine is no failure.
    # `make check` has less than a minute for everything; `make test` takes the full number.
    max_examples=int(os.environ.get("PROPERTY_EXAMPLES", "100")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("unit")
