"""The tables that this package adds to the index: hand them to `open_quorum` and its readers."""

from __future__ import annotations

from projections.audit import AUDIT, KEYS
from projections.past_jobs import JOBS, OPS

INDEX_TABLES = (AUDIT, KEYS, JOBS, OPS)
