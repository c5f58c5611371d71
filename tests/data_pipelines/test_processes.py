"""Jobs over processes: each outcome once, errors pass through, nothing is left running."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from data_pipelines.processes import outcomes, worker_number

LINUX = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux gives processes cores of their own")


def half(number):
    return number // 2


def here(seconds=0.0):
    """(process, its number among the workers, its cores, whether it may take all of a GPU) after a while."""
    time.sleep(seconds)
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return os.getpid(), worker_number(), cores, os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE")


def meets(folder, number):
    """`here`, once there is a second process in which a job waits like this."""
    (folder / str(os.getpid())).touch()
    end = time.monotonic() + 60
    while len(list(folder.iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    return here()


def fails(number):
    if number == 1:
        raise LookupError(f"job {number}")
    return number


def half_or_dies(number):
    if not number:
        os._exit(3)
    return half(number)


def was_born_deaf():
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def left():
    return multiprocessing.active_children()


def test_each_job_has_one_outcome_in_whatever_order():
    found = {number: outcome() for number, outcome in outcomes(half, [(n,) for n in (7, 4, 9, 0, 2)], 2)}
    assert found == {0: 3, 1: 2, 2: 4, 3: 0, 4: 1} and not left()


@pytest.mark.parametrize("jobs", [[], [(6,)], [(6,), (3,), (0,)]])
def test_one_worker_goes_through_the_jobs_in_order(jobs):
    found = [(number, outcome()) for number, outcome in outcomes(half, jobs, 1)]
    assert found == [(number, job[0] // 2) for number, job in enumerate(jobs)]


def test_one_worker_or_one_job_runs_in_this_process():
    before = here()
    for jobs, workers in (([()], 2), ([(), ()], 1)):
        assert [outcome() for _, outcome in outcomes(here, jobs, workers, share_cores=True)] == [before] * len(jobs)
    assert before[:2] == (os.getpid(), 0)


def test_one_worker_starts_a_job_when_its_outcome_is_asked_for():
    done = []
    for number, outcome in outcomes(done.append, [("a",), ("b",), ("c",)], 1):
        assert len(done) == number
        outcome()
    assert done == ["a", "b", "c"]


@LINUX
def test_workers_have_numbers_and_cores_of_their_own(tmp_path):
    cores = sorted(os.sched_getaffinity(0))
    jobs = [(tmp_path, number) for number in range(2)]
    found = [outcome() for _, outcome in outcomes(meets, jobs, 2, share_cores=True)]
    assert {place[0] for place in found} == {int(file.name) for file in tmp_path.iterdir()} and not left()
    assert sorted(place[1:] for place in found) == [(0, cores[0::2], "false"), (1, cores[1::2] or cores, "false")]
    assert sorted(os.sched_getaffinity(0)) == cores


@LINUX
def test_workers_that_do_not_share_cores_may_use_all():
    cores = sorted(os.sched_getaffinity(0))
    assert all(outcome()[2] == cores for _, outcome in outcomes(here, [()] * 2, 2))


@pytest.mark.parametrize("workers", [1, 2])
def test_an_exception_passes_through_and_the_others_go_on(workers):
    found = []
    for number, outcome in outcomes(fails, [(n,) for n in range(3)], workers):
        if number == 1:
            with pytest.raises(LookupError, match="job 1"):
                outcome()
        else:
            found.append(outcome())
    assert sorted(found) == [0, 2] and not left()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_dies_takes_one_job_with_it_and_is_replaced(workers):
    jobs = [(n,) for n in (5, 0, 4, 0, 8)]
    found, died = {}, []
    for number, outcome in outcomes(half_or_dies, jobs, workers, isolated=True):
        try:
            found[number] = outcome()
        except ChildProcessError as error:
            assert re.match("a worker process died with it, .* run again with fewer --workers", str(error))
            died.append(number)
    assert found == {0: 2, 2: 2, 4: 4} and sorted(died) == [1, 3] and not left()


def test_a_worker_that_dies_between_two_jobs_takes_none_with_it(monkeypatch):
    submit, refused = ProcessPoolExecutor.submit, []

    def once_broken(pool, function, *job):
        if job == (6,) and not refused:
            refused.append(pool)
            raise BrokenProcessPool
        return submit(pool, function, *job)

    monkeypatch.setattr(ProcessPoolExecutor, "submit", once_broken)
    found = {number: outcome() for number, outcome in outcomes(half, [(2,), (4,), (6,), (8,)], 2)}
    assert found == {0: 1, 1: 2, 2: 3, 3: 4} and len(refused) == 1 and not left()


def test_a_process_that_dies_while_it_starts_costs_no_job(tmp_path):
    (tmp_path / "unlucky.py").write_text(
        "import os, sys\n"
        "from pathlib import Path\n"
        "from data_pipelines.processes import outcomes\n"
        "if __name__ != '__main__' and len(list(Path(sys.argv[1]).glob('dead*'))) < 2:\n"
        "    Path(sys.argv[1], f'dead{os.getpid()}').touch()\n"
        "    os._exit(9)\n"
        "if __name__ == '__main__':\n"
        "    print(sorted(outcome() for _, outcome in outcomes(abs, [(-1,), (2,), (3,)], 1, isolated=True)))\n"
    )
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, tmp_path / "unlucky.py", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env=environ)
    assert done.stdout == "[1, 2, 3]\n", done.stderr
    assert len(list(tmp_path.glob("dead*"))) == 2


def test_workers_that_cannot_start_are_said_once(tmp_path):
    (tmp_path / "careless.py").write_text(
        "from data_pipelines.processes import outcomes\n"
        "print([outcome() for _, outcome in outcomes(abs, [(-1,), (2,), (3,)], 2)])\n"  # and so in each worker
    )
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, tmp_path / "careless.py"], capture_output=True, text=True, env=environ)
    assert done.returncode == 1 and not done.stdout
    assert "ChildProcessError: worker processes end before they begin: " in done.stderr


@pytest.mark.parametrize(("soft", "hard", "wanted", "granted"), [(300, 5000, 30, 30), (300, 336, 30, 8)])
def test_the_limit_of_open_files_is_raised_or_kept(soft, hard, wanted, granted):
    code = f"""
import resource
from data_pipelines import processes
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
print(processes._allowed({wanted}), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout == f"{granted} {256 + 10 * granted}\n", done.stderr


def test_workers_are_deaf_to_ctrl_c_from_their_start():
    assert all(outcome() for _, outcome in outcomes(was_born_deaf, [()] * 4, 2))
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.parametrize("jobs", [[], [()], [(), ()]])
def test_isolated_jobs_are_not_in_this_process(jobs):
    found = [outcome()[0] for _, outcome in outcomes(here, jobs, 1, isolated=True)]
    assert len(found) == len(jobs) and os.getpid() not in found


def test_who_stops_early_leaves_no_worker_behind():
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    other.start()
    jobs = [(0.0,), (60.0,), (60.0,), (60.0,)]
    found = outcomes(here, jobs, 2)
    assert next(found)[0] == 0
    assert len(left()) == 3
    began = time.monotonic()
    found.close()
    assert left() == [other] and time.monotonic() - began < 20
    other.terminate()
    other.join()


def test_an_exception_in_the_loop_ends_the_workers():
    try:
        for _ in outcomes(here, [(0.0,), (60.0,), (60.0,)], 2):
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert not left()
