"""One module per figure, each with ``figure(table, …) -> Figure``; nothing is computed here."""
