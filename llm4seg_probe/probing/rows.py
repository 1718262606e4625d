"""The rows of a probe's table while it is being measured."""

from __future__ import annotations

from typing import Any

import pandas as pd

from llm4seg_probe.tables import Schema, conform

_COMPACT = 4096


class Rows:
    """Rows as they come, a few thousand at a time turned into columns, which take far less room."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._parts: list[pd.DataFrame] = []
        self._rows: list[dict[str, Any]] = []

    def add(self, row: dict[str, Any]) -> None:
        """Add one row of the schema's columns; those that it lacks are empty."""
        self._rows.append(row)
        if len(self._rows) >= _COMPACT:
            self._compact()

    def table(self) -> pd.DataFrame:
        """All rows, in the order in which they came, as the schema has them."""
        self._compact()
        return conform(pd.concat(self._parts, ignore_index=True), self._schema)

    def _compact(self) -> None:
        frame = pd.DataFrame(self._rows).reindex(columns=list(self._schema.columns))
        self._parts.append(conform(frame, self._schema))
        self._rows = []
