"""The commands: they parse, call one function, and print what it gave."""

from llm4seg_probe.cli.app import main as main
