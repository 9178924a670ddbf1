"""The closed, immutable base of whatever is stored as JSON."""

from __future__ import annotations

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of a schema. Unknown fields are errors, so a typing slip is never a default."""
