"""How many machines a hundred million registrations take, simulated from what one machine was measured to do.

    python3 benches/scale.py [--endpoints 100000000] [--sample 400000] [--seed 1] [--help]

Sessions of two (most), and some of up to 16, live for an exponentially distributed time. A sample of them is placed on servers session
by session, so that the figures show how uneven chance makes it, and scaled up. Two ways to place clients are compared: *any*, each client at
a server of its own choice (DNS round robin), where sessions span servers and the store tells them of each other; and *by session*, each
client at the server that wins the rendezvous hash of its session's lookup key (highest random weight), where no session spans servers
unless one of them has just failed.

What one processor does comes from `scripts/bench.sh server` and can be set by options; so can what one Redis does (redis-benchmark).
Nothing here runs a server: it is arithmetic over a random sample, and says nothing of what a network in between may do.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from dataclasses import dataclass

_GIB = 1 << 30


@dataclass
class Placed:
    """What the sample has come to."""

    endpoints: list[int]
    #: Members beside the own ones that a server lists since they share a session with them.
    elsewhere: int = 0
    #: Pairs of a session and a server that has members of it, where there are several such servers.
    spanning: int = 0


def sizes(count: int, chance: random.Random) -> list[int]:
    """Members of so many sessions: nine of ten have two."""
    return [2 if chance.random() < 0.9 else chance.randint(3, 16) for _ in range(count)]


def place(sessions: list[int], servers: int, by_session: bool, chance: random.Random) -> Placed:
    """Has each client choose a server."""
    placed = Placed([0] * servers)
    for members in sessions:
        if by_session:
            # Highest random weight is a fair draw for each session.
            placed.endpoints[chance.randrange(servers)] += members
            continue
        at = Counter(chance.randrange(servers) for _ in range(members))
        for server, own in at.items():
            placed.endpoints[server] += own
        if len(at) > 1:
            placed.spanning += len(at)
            placed.elsewhere += sum(members - own for own in at.values())
    return placed


def main() -> None:
    """Run the command line."""
    summary, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoints", type=int, default=100_000_000)
    parser.add_argument("--sample", type=int, default=400_000, help="sessions that are placed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--life", type=float, default=600.0, help="mean seconds that a registration lasts")
    parser.add_argument("--presence-us", type=float, default=3.2, help="processor time of a heartbeat with its answer")
    parser.add_argument("--join-us", type=float, default=14.0, help="of joining, from challenge to goodbye")
    parser.add_argument("--bytes", type=float, default=150.0, help="memory of a registration")
    parser.add_argument("--cores", type=int, default=8, help="of one server")
    parser.add_argument("--busy", type=float, default=0.5, help="share of them that is used when all is well")
    parser.add_argument("--redis-per-second", type=float, default=300_000, help="pipelined commands of one Redis")
    options = parser.parse_args()

    chance = random.Random(options.seed)
    sessions = sizes(options.sample, chance)
    scale = options.endpoints / sum(sessions)
    joins = options.endpoints / options.life
    print(f"{options.endpoints:,} registrations in {len(sessions) * scale:,.0f} sessions, {joins:,.0f} joins and as many goodbyes a second; "
          f"seed {options.seed}")
    for heartbeat in (10.0, 25.0):
        cores = (options.endpoints / heartbeat * options.presence_us + joins * options.join_us) / 1e6
        servers = max(2, round(cores / options.busy / options.cores + 0.5))
        print(f"\nheartbeat every {heartbeat:.0f} s: {cores:,.0f} processors' work, {servers} servers of {options.cores} at {options.busy:.0%}")
        print(f"  {'clients choose':14} {'fullest':>9} {'memory':>9} {'busy':>6} {'store: commands/s':>18} {'Redis':>6} "
              f"{'one server fails: each takes':>29} {'back after':>11}")
        for name, by_session in (("any server", False), ("by session", True)):
            placed = place(sessions, servers, by_session, chance)
            fullest = max(placed.endpoints) / (sum(placed.endpoints) / servers)
            each = options.endpoints / servers * fullest
            listed = each + placed.elsewhere * scale / servers
            busy = cores / servers / options.cores * fullest
            # HSET, EXPIRE and HGETALL with the first member, HDEL with the last; PUBLISH to the others; a look at each session a minute.
            spanning = placed.spanning * scale
            store = 0.0 if by_session else joins * 5 + joins * spanning / (len(sessions) * scale) + spanning * 2 / 60
            redis = 0 if by_session else max(1, round(store / options.redis_per_second / options.busy + 0.5))
            # The clients of a failed server come to the others within a heartbeat, as fast as these have time.
            extra = options.endpoints / servers / (servers - 1)
            spare = options.cores * (1 - busy)
            back = max(heartbeat, extra * options.join_us / 1e6 / spare)
            print(f"  {name:14} {fullest:8.2f}x {listed * options.bytes / _GIB:5.2f} GiB {busy:6.0%} {store:18,.0f} {redis:6} "
                  f"{extra:21,.0f} more {back:8.1f} s")


if __name__ == "__main__":
    main()
