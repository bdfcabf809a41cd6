"""Settings of the property tests: the same examples on every run and machine, and no files left behind."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "unit",
    derandomize=True,
    database=None,
    deadline=None,  # A busy machine is no failure.
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("unit")
