"""Data sets of the paper: from the archive of their page into the documented layout."""
