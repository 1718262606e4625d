import numpy as np
import pandas as pd
import pytest

from llm4seg_probe.report.figures import power


def test_the_line_is_the_power_at_the_pilots_own_number_of_cases() -> None:
    summary = pd.DataFrame([{"dataset": "d", "a": "llm", "units": 6}])
    curve = pd.DataFrame(
        [
            {"dataset": "d", "a": "llm", "n_seeds": seeds, "n_units": units, "power": p,
             "power_low": p / 2, "power_high": min(1.0, 2 * p), "power_simulated": p}
            for units, scale in ((6, 1.0), (24, 2.0))
            for seeds, p in ((2, 0.1 * scale), (5, 0.2 * scale), (10, 0.4 * scale))
        ]
    )  # fmt: skip
    (axes,) = power.figure(summary, curve).axes
    line = axes.lines[0]
    assert list(np.asarray(line.get_xdata(), float)) == [2, 5, 10]
    assert list(np.asarray(line.get_ydata(), float)) == pytest.approx([0.1, 0.2, 0.4])
    assert line.get_label() == "LLM, frozen"
    assert axes.get_xlabel() == "Seeds (training runs per arm)"
