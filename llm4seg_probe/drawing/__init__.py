"""The look of every figure: style, labels, axes, files."""
