from llm4seg_probe.results.anatomy import anatomy as anatomy
from llm4seg_probe.results.paper import figure as figure
from llm4seg_probe.results.paper import table as table
