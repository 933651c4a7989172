"""Live spools of the power-cut model with seeds that the tests do not use, and lose the ledger of some.

python tests/evidence/firm-ground/lives.py SECONDS SEED
"""

import random
import sys
import time

from tests.router.spool.power_cut import FragileFiles
from tests.router.spool.power_cut_world import World


def main(seconds: float, seed: int) -> None:
    end = time.monotonic() + seconds
    spools = cuts = lost = 0
    while time.monotonic() < end:
        seed += 1
        chance = random.Random(seed)
        files = FragileFiles()
        world = World(files, chance, keen=chance.random() < 0.3)
        for _ in range(chance.randrange(1, 7)):
            cut = chance.randrange(400)
            files.cut_after = cut
            world.live(turns=chance.randrange(5, 40))
            lost += power_on(files, world, seed + cut)
            cuts += 1
        world.live(turns=8)
        lost += power_on(files, world, seed)
        cuts += 1
        world.finish()
        spools += 1
    lives = cuts + spools
    print(f"{spools} spools, {lives} lives, {cuts} power cuts, {lost} with the loss of the ledger: no failure")


def power_on(files: FragileFiles, world: World, seed: int) -> bool:
    """Start the machine again; whether the ledger is lost too."""
    files.power_on(seed)
    if world.chance.random() < 0.4:
        files.ledger_states, world.lost_ledger = [None], True
        return True
    return False


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
