"""Significance: paired tests, exact tests, the crossed bootstrap and power on arrays; comparisons,
claims, plans and audits on tables.

The functions named here take arrays and can be used on their own.
"""

from llm4seg_probe.statistics.bootstrap import crossed_bootstrap as crossed_bootstrap
from llm4seg_probe.statistics.exact_tests import permutation as permutation
from llm4seg_probe.statistics.exact_tests import sign_flip as sign_flip
from llm4seg_probe.statistics.multiplicity import holm as holm
from llm4seg_probe.statistics.paired_tests import Estimate as Estimate
from llm4seg_probe.statistics.paired_tests import paired as paired
from llm4seg_probe.statistics.paired_tests import resampled as resampled
from llm4seg_probe.statistics.paired_tests import tost as tost
from llm4seg_probe.statistics.paired_tests import tost_power as tost_power
from llm4seg_probe.statistics.paired_tests import welch as welch
from llm4seg_probe.statistics.power import paired_spread as paired_spread
from llm4seg_probe.statistics.power import seeds_needed as seeds_needed
from llm4seg_probe.statistics.power import smallest_detectable as smallest_detectable
from llm4seg_probe.statistics.power import t_power as t_power
from llm4seg_probe.statistics.power import welch_spread as welch_spread
