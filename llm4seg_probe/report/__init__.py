"""The page of a folder of results: figures, tables, verdicts."""
