"""Thousands of malformed inputs: ``python tests/hostile/fuzz.py --count 5000 --seed 1``.

Prints each fault with its family and seed, by which it is made again, and ends with 1 if there is
one. Inputs at fault are kept.
"""

from __future__ import annotations

import argparse
import collections
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from corpus import FAMILIES
from forked import outcome, prepare
from materials import make_materials


def main() -> int:
    """Run the inputs; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0, help="of the first input of each family")
    parser.add_argument("--family", choices=list(FAMILIES), action="append")
    arguments = parser.parse_args()
    families = arguments.family or list(FAMILIES)
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    prepare()
    source = make_materials(folder / "materials")
    counted: collections.Counter[str] = collections.Counter()
    slowest, largest = 0.0, 0.0
    for number in range(arguments.count):
        family = families[number % len(families)]
        seed = arguments.seed + number // len(families)
        found = outcome(source, family, seed, folder / f"{family}-{seed}".replace(" ", "-"))
        fault = found.fault
        counted[fault or ("accepted" if found.code == 0 else "refused")] += 1
        slowest, largest = max(slowest, found.seconds), max(largest, found.memory_mb)
        if fault:
            last = (found.said.strip().splitlines() or [""])[-1][:300]
            print(f"{family} {seed}: {fault}: {' '.join(found.command)}\n    {last}", flush=True)
        if number % 500 == 499:
            print(f"# {number + 1} inputs: {dict(counted)}", flush=True)
    print(f"{arguments.count} inputs: {dict(counted)}; slowest {slowest:.1f} s, {largest:.0f} MB")
    return int(any(name not in ("accepted", "refused") for name in counted))


if __name__ == "__main__":
    raise SystemExit(main())
