"""Files that others wrote: one guarded reader per format, and the bounds of what one may take.

Nothing in such a file decides which code runs, which other file is opened or written, which host
is asked, or how much memory is taken. Headers are read here before a native library sees them.
"""
