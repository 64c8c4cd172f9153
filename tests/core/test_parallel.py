import subprocess
import sys

import pytest

from backcast.core.errors import BadInput
from backcast.core.parallel import pmap


def square(x):
    return x * x


def fail_at_three(x):
    if x == 3:
        raise ValueError("three")
    return x


@pytest.mark.parametrize(
    ("jobs", "engine"), [(1, None), (2, None), (2, "serial"), (1, "processes"), (-1, "processes"), (2, "threads")]
)
def test_results_are_those_of_a_loop_in_item_order(jobs, engine):
    assert pmap(square, list(range(20)), jobs=jobs, engine=engine) == [x * x for x in range(20)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_first_error_is_raised_here(jobs):
    with pytest.raises(ValueError, match="three"):
        pmap(fail_at_three, list(range(6)), jobs=jobs)


@pytest.mark.parametrize("engine", ["serial", "processes", "threads"])
def test_results_are_heard_of_in_item_order_as_they_come(engine):
    heard = []
    pmap(square, list(range(9)), jobs=2, engine=engine, done=heard.append)
    assert heard == [x * x for x in range(9)]


def test_what_was_done_before_an_error_was_heard_of():
    heard = []
    with pytest.raises(ValueError, match="three"):
        pmap(fail_at_three, list(range(6)), done=heard.append)
    assert heard == [0, 1, 2]


def test_ray_needs_a_cluster():
    with pytest.raises(BadInput, match="on_cluster"):
        pmap(square, [1], engine="ray")


def test_unknown_engine_names_the_nearest():
    with pytest.raises(BadInput, match="did you mean 'processes'"):
        pmap(square, [1], engine="proceses")


def test_a_label_shows_progress_on_stderr_only():
    """stdout stays clean for --json; a run longer than a second ends with a line of its count."""
    code = (
        "import time; from backcast.core.parallel import pmap;"
        "print(sum(pmap(lambda x: time.sleep(0.3) or x, [1, 2, 3, 4], label='adding')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "10\n"
    assert "adding: 4/4" in done.stderr
