"""``python -m llm4seg_probe`` is ``llm4seg-probe``."""

from llm4seg_probe.cli import main

if __name__ == "__main__":
    main()
