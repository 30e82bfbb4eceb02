"""How laws are drawn: the same examples in each run of the tests, others in `make laws`.

A suite that draws anew each time finds more, and passes or fails by luck. So the two are apart:
`make test` says of one commit always the same, and `make laws` searches, for as long as one likes.
What the search finds becomes an `@example` of its law. Time is bounded by pytest's own timeout:
how long one example takes says nothing on a machine that others share.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)

settings.register_profile("repeated", _PATIENT, derandomize=True)
settings.register_profile("drawn-anew", _PATIENT)
settings.load_profile("repeated")
