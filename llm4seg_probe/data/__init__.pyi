from llm4seg_probe.results.sets import check as check
from llm4seg_probe.results.sets import list_sets as _list_sets
from llm4seg_probe.results.sets import open_set as _open_set
from llm4seg_probe.results.sets import split as split

list = _list_sets
open = _open_set
