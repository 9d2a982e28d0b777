"""Runs the campaign from the command line; run again, it goes on where it was.

Every fault's moment is drawn from the seed and its number, so that one which fails comes again by
``--seed`` and ``--only``.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory


def main() -> None:
    """Read the options, and run or list."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    today = int(f"{datetime.now(UTC):%Y%m%d}")
    parser.add_argument("--seed", type=int, default=today, help="today's date if not given")
    parser.add_argument("--only", default="", help="letters of a fault's line, as --list has it")
    parser.add_argument("--list", action="store_true", help="list the faults, and run none")
    parser.add_argument("--minutes", type=float, default=25.0, help="no course begins after them")
    given = parser.parse_args()
    # As tests/e2e/conftest.py: leftovers are told by what stands in their environment.
    os.environ.setdefault("SPT_NOENV", "1")

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # moto names every request

    from tests.chaos.campaign import Campaign
    from tests.e2e.prefect_homes import serve_prefect

    if given.list:
        for entry in Campaign("").choose(given.only):
            print(entry.describe())
        return
    with TemporaryDirectory(prefix="chaos-") as folder, serve_prefect(Path(folder)) as server:
        campaign = Campaign(server)
        print(f"seed {given.seed}", flush=True)
        whole = campaign.run(campaign.choose(given.only), given.seed, given.minutes)
    if not whole:
        print("the same command goes on with the rest")
        sys.exit(3)
    print("nothing lost, nothing twice, nothing left behind")


if __name__ == "__main__":
    main()
