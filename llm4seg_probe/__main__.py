"""``python -m llm4seg_probe`` is ``llm4seg-probe``."""

import os
import sys

# ``python -m`` puts the current folder before everything else: a torch.py that lies there would
# run in place of the library. What PYTHONPATH names stays, for that is the user's own word.
if not sys.flags.safe_path and sys.path and sys.path[0] in ("", os.getcwd()):  # noqa: PTH109
    del sys.path[0]

from llm4seg_probe.cli import main

if __name__ == "__main__":
    main()
