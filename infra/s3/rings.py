"""Partition maps of a one-node Swift: ``python -m infra.s3.rings ETC account=PORT container=PORT object=PORT``.

A process of its own, because importing Swift patches the standard library.
"""

from __future__ import annotations

import sys
from pathlib import Path

from swift.common.ring import RingBuilder


def write(etc: Path, ports: dict[str, int]) -> None:
    """Write ``NAME.ring.gz`` for each server; where data lies does not depend on the ports."""
    for name, port in ports.items():
        builder = RingBuilder(part_power=6, replicas=1, min_part_hours=0)
        builder.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "device": "d1", "weight": 1.0})
        builder.rebalance(seed="acetate")
        builder.get_ring().save(str(etc / f"{name}.ring.gz"))


if __name__ == "__main__":
    given = (argument.partition("=") for argument in sys.argv[2:])
    write(Path(sys.argv[1]), {name: int(port) for name, _, port in given})
