"""
Measures this gateway beside a bare aiohttp proxy, on one machine, and prints the ratios.

    python -m tests.bench [--quick] [--scenarios a,b] [--rounds N] [--seconds S] [--json FILE] [--all]
    python -m tests.bench --lane          only the upstream lane: the same bare proxy with it and without
"""

import argparse
import contextlib
import json
import os
from pathlib import Path

from tests.bench.gateway import bare, mock, neuroroute
from tests.bench.load import Bench, Load
from tests.bench.report import line, measure, table
from tests.bench.scenarios import EVERY_DAY, SCENARIOS, Options, small


def arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="2 rounds of 1.5 s: a look, good to 20 %%")
    p.add_argument("--scenarios", help=f"comma-separated, of {', '.join(SCENARIOS)}; default: all but the long ones")
    p.add_argument("--long", action="store_true", help="the long scenarios too")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=4.0)
    p.add_argument("--soak-seconds", type=float, default=60.0)
    p.add_argument("--rate", type=float, default=100.0)
    p.add_argument("--workers", type=int, default=1)
    p.add_argument("--redis", action="store_true", help="with a Redis-protocol server")
    p.add_argument("--lane", action="store_true", help="measure the upstream lane alone")
    p.add_argument("--alone", action="store_true", help="no bare proxy: no ratios")
    p.add_argument("--all", action="store_true", help="print every figure")
    p.add_argument("--json", metavar="FILE", type=Path, help="write all rounds there")
    return p.parse_args()


def main() -> None:
    args = arguments()
    cpus = sorted(os.sched_getaffinity(0))
    gateway_cpu, load_cpu = (cpus[0], cpus[-1]) if len(cpus) > 1 else (None, None)
    if args.quick:
        args.rounds, args.seconds, args.soak_seconds = min(args.rounds, 2), min(args.seconds, 1.5), min(args.soak_seconds, 10)
    names = args.scenarios.split(",") if args.scenarios else list(SCENARIOS if args.long else EVERY_DAY)
    if args.lane:
        names = [name for name in names if name in ("nonstream_small", "nonstream_10KB", "stream_50chunks", "stream_1000_concurrent")]
    bench = Bench(load_cpu, settle_s=0.3 if args.quick else 1.0)
    options = Options(seconds=args.seconds, rate=args.rate, soak_s=args.soak_seconds)
    with contextlib.ExitStack() as stack:
        direct = stack.enter_context(mock(load_cpu))
        if args.lane:
            sides = [stack.enter_context(bare(direct, gateway_cpu, "--client", "lane", name="lane"))]
        else:
            cpu = gateway_cpu if args.workers == 1 else None
            sides = [stack.enter_context(neuroroute(direct, cpu, workers=args.workers, redis=args.redis))]
        if not args.alone:
            sides.append(stack.enter_context(bare(direct, gateway_cpu)))
        idle = {side.name: side.memory() for side in sides}
        for side in sides:
            warm = bench.run(side, Load([small()], conns=16, seconds=1 if args.quick else 3))
            if warm["errors"] or not warm["ok"]:
                raise SystemExit(f"{side.name} does not answer properly")
        results = {name: measure(name, bench, sides, direct, options, args.rounds) for name in names}
    if args.json:
        args.json.write_text(json.dumps({"memory_idle_mb": idle, "scenarios": results}, indent=1))
    print("memory idle: " + ", ".join(f"{name} {mb:.0f} MB" for name, mb in idle.items()) + "\n")
    print(table(results, sides, everything=args.all, goals=not args.lane))
    if len(sides) == 2 and not args.lane:
        print(f"\nrow for README.md: {line(results)}")


if __name__ == "__main__":
    main()
