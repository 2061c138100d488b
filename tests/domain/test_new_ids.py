"""Ids come once, whoever seeds Python's own generator, and in a forked process too."""

from __future__ import annotations

import random
import subprocess
import sys

from service.domain.ids import new_id

FORKS = """
import os
from service.domain.ids import new_id
before = new_id()
child = os.fork()
os.write(1, f"{new_id()[14:]} ".encode())  # at once: both write to the same pipe
if child:
    os.waitpid(child, 0)
"""


def test_none_comes_twice_where_somebody_seeds_the_generator_that_all_share() -> None:
    drawn = []
    state = random.getstate()
    for _ in range(2):
        random.seed(1)
        drawn.append(new_id()[19:])
    random.setstate(state)
    assert drawn[0] != drawn[1]


def test_a_forked_process_draws_others() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKS], capture_output=True, text=True, check=True, timeout=30
    )
    one, other = done.stdout.split()
    assert one != other
