"""The supervisor with real child processes."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.processes import is_alive, read_pid
from tests.support.waiting import patient, wait_for
from workers.supervisor import Child, Program, ProgramFailedError, Supervisor

ROOT = Path(__file__).resolve().parents[2]

# Notes its start and its stop in a file that all of them share.
RECORDER = """
import signal, sys
name, journal = sys.argv[1:]
def note(what):
    with open(journal, "a") as file:
        file.write(f"{what} {name}\\n")
def stop(*_):
    note("stop")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
note("start")
print("INFO up", flush=True)
while True:
    signal.pause()
"""
STUBBORN = """
import os, pathlib, signal, sys
heard = pathlib.Path(sys.argv[1] + ".heard")
signal.signal(signal.SIGTERM, lambda *_: heard.touch())
child = os.fork()
with open(sys.argv[1] + (".child" if child == 0 else ""), "w") as file:
    file.write(f"{os.getpid()}\\n")
while True:
    signal.pause()
"""


def python(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]


class Runner:
    """Supervisors in threads of their own, stopped at the end of a test."""

    def __init__(self) -> None:
        self.console: list[str] = []
        self.exits: list[tuple[str, int, int]] = []
        self.errors: list[BaseException] = []
        self._running: list[tuple[Supervisor, threading.Thread]] = []

    def start(self, *stages: list[Program], **options) -> Supervisor:
        supervisor = Supervisor(
            stages,
            console=self.console.append,
            on_exit=lambda *exit: self.exits.append(exit),
            **options,
        )
        thread = threading.Thread(target=self._run, args=[supervisor])
        thread.start()
        self._running.append((supervisor, thread))
        return supervisor

    def _run(self, supervisor: Supervisor) -> None:
        try:
            supervisor.run()
        except ProgramFailedError as error:
            self.errors.append(error)

    def stop(self) -> None:
        for supervisor, _ in self._running:
            supervisor.request_stop()
        for _, thread in self._running:
            thread.join(timeout=patient(20))
            assert not thread.is_alive()


@pytest.fixture
def runner() -> Iterator[Runner]:
    runner = Runner()
    yield runner
    runner.stop()


@pytest.fixture
def journal(tmp_path) -> Callable[[], list[str]]:
    path = tmp_path / "journal"

    def read() -> list[str]:
        return path.read_text().splitlines() if path.exists() else []

    return read


def recorder(name: str, tmp_path: Path, **options) -> Program:
    return Program(
        name=name, command=python(RECORDER, name, tmp_path / "journal"), **options
    )


def test_stages_start_in_order_and_stop_in_the_opposite_one(runner, tmp_path, journal):
    names = ["broker", "web", "workers"]

    def has_started(name: str) -> bool:
        return f"start {name}" in journal()

    stages = [
        [recorder(name, tmp_path, is_ready=partial(has_started, name))]
        for name in names
    ]

    supervisor = runner.start(*stages)
    assert supervisor.started.wait(patient(10))
    supervisor.request_stop()
    assert supervisor.finished.wait(patient(10))

    assert journal() == [
        *(f"start {name}" for name in names),
        *(f"stop {name}" for name in reversed(names)),
    ]


def test_a_stage_waits_for_a_program_that_runs_once(runner, tmp_path):
    done = tmp_path / "done"
    once = Program(
        name="migrate", command=["touch", str(done)], runs_once=True, cwd=tmp_path
    )
    checked: list[bool] = []

    def saw_it_done() -> bool:
        checked.append(done.exists())
        return True

    after = Program(name="web", command=["sleep", "60"], is_ready=saw_it_done)
    supervisor = runner.start([once], [after])

    assert supervisor.started.wait(patient(10))
    assert checked == [True]
    assert set(supervisor.pids()) == {"web"}


def test_a_program_that_dies_at_its_start_is_named_with_its_last_words(
    runner, tmp_path, journal
):
    broken = Program(
        name="web",
        command=python("import sys; print('No port for me.'); sys.exit(3)"),
        is_ready=lambda: False,
        hint="Set WHISPERHUB_PORT.",
    )

    supervisor = runner.start([recorder("broker", tmp_path)], [broken])
    assert supervisor.finished.wait(patient(10))

    assert not supervisor.started.is_set()
    (error,) = runner.errors
    assert str(error) == (
        "web stopped at its start (exit status 3). Set WHISPERHUB_PORT. "
        "The end of its output:\n  No port for me."
    )
    # What had come up before it was stopped.
    assert [name for name, _, _ in runner.exits] == ["web", "broker"]


def test_a_program_that_does_not_exist_is_said_to_be_missing(runner):
    supervisor = runner.start(
        [Program(name="ghost", command=["/no/such/program"], is_ready=lambda: False)]
    )
    assert supervisor.finished.wait(patient(10))

    assert "/no/such/program cannot be run: No such file" in str(runner.errors[0])


def test_a_program_that_is_never_ready_fails_at_its_deadline(runner):
    slow = Program(
        name="slow",
        command=["sleep", "60"],
        is_ready=lambda: False,
        ready_seconds=0.2,
    )
    supervisor = runner.start([slow])
    assert supervisor.finished.wait(patient(10))

    assert "slow was not ready within 0.2 s" in str(runner.errors[0])
    assert [name for name, _, _ in runner.exits] == ["slow"]


def test_a_program_that_dies_later_is_started_again_and_backs_off(runner, tmp_path):
    supervisor = runner.start([Program(name="web", command=["sleep", "60"])])
    assert supervisor.started.wait(patient(10))

    def runs_as_another_process_than(pid: int) -> bool:
        return bool(supervisor.pids().get("web", pid) != pid)

    for _ in range(2):
        pid = supervisor.pids()["web"]
        os.kill(pid, signal.SIGKILL)
        wait_for(partial(runs_as_another_process_than, pid))

    assert runner.console == [
        "web stopped (killed by SIGKILL); starting it again in 0.5 s.",
        "web stopped (killed by SIGKILL); starting it again in 1 s.",
    ]


def test_what_a_dead_program_left_behind_ends_with_it(runner, tmp_path):
    pid_file = tmp_path / "pid"
    supervisor = runner.start(
        [Program(name="pool", command=python(STUBBORN, pid_file))]
    )
    grandchild = read_pid(Path(f"{pid_file}.child"))

    os.kill(supervisor.pids()["pool"], signal.SIGKILL)

    wait_for(lambda: not is_alive(grandchild))


def deaf_program(pid_file: Path, *, patience_seconds: float) -> Program:
    """One that does not stop when it is asked to."""
    return Program(
        name="deaf",
        command=python(STUBBORN, pid_file),
        is_ready=Path(f"{pid_file}.child").exists,
        patience_seconds=patience_seconds,
    )


def test_a_program_deaf_to_sigterm_is_killed_after_its_patience(runner, tmp_path):
    pid_file = tmp_path / "pid"
    supervisor = runner.start([deaf_program(pid_file, patience_seconds=0.3)])
    assert supervisor.started.wait(patient(10))

    supervisor.request_stop()
    assert supervisor.finished.wait(patient(5))

    assert runner.exits[0][2] == -signal.SIGKILL
    wait_for(lambda: not is_alive(read_pid(Path(f"{pid_file}.child"))))


def test_the_second_request_to_stop_cuts_patience_short(runner, tmp_path):
    pid_file = tmp_path / "pid"
    supervisor = runner.start([deaf_program(pid_file, patience_seconds=600)])
    assert supervisor.started.wait(patient(10))

    supervisor.request_stop()
    supervisor.request_stop()

    assert supervisor.finished.wait(patient(10))


def test_a_stop_during_the_start_is_obeyed_at_once(runner):
    supervisor = runner.start(
        [Program(name="slow", command=["sleep", "60"], is_ready=lambda: False)],
        [Program(name="next", command=["sleep", "60"])],
    )
    wait_for(lambda: supervisor.pids())

    supervisor.request_stop()

    assert supervisor.finished.wait(patient(5))
    assert runner.errors == []
    assert [name for name, _, _ in runner.exits] == ["slow"]


def test_output_goes_to_a_file_and_only_the_loud_part_to_the_console(runner, tmp_path):
    talker = """
        import sys
        print("INFO all is well")
        print("ERROR not any more")
        print("  for this reason")
        sys.stdout.write("no newline at the end")
    """
    supervisor = runner.start(
        [Program(name="talker", command=python(talker), runs_once=True)],
        log_dir=tmp_path,
    )
    assert supervisor.started.wait(patient(10))

    assert (tmp_path / "talker.log").read_text().splitlines() == [
        "INFO all is well",
        "ERROR not any more",
        "  for this reason",
        "no newline at the end",
    ]
    assert runner.console == [
        "talker     | ERROR not any more",
        "talker     |   for this reason",
        "talker     | no newline at the end",
    ]


def test_a_chatty_program_does_not_block_and_its_log_stays_small(runner, tmp_path):
    supervisor = runner.start(
        [
            Program(
                name="chatty",
                command=python("print(('x' * 99 + '\\n') * 20_000)"),
                runs_once=True,
            )
        ],
        log_dir=tmp_path,
        log_bytes=100_000,
    )
    assert supervisor.started.wait(patient(20))

    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert max(sizes) <= 100_000


def test_programs_get_their_own_environment_and_no_input(runner, tmp_path):
    show = """
        import os, sys
        print("ERROR", os.environ["SLOT"], repr(sys.stdin.read()))
    """
    supervisor = runner.start(
        [
            Program(
                name="show",
                command=python(show),
                environment={"SLOT": "gpu0"},
                runs_once=True,
            )
        ]
    )
    assert supervisor.started.wait(patient(10))

    assert runner.console == ["show       | ERROR gpu0 ''"]


def test_programs_can_be_added_and_removed_while_it_runs(runner, tmp_path, journal):
    supervisor = runner.start([recorder("first", tmp_path)])
    assert supervisor.started.wait(patient(10))

    supervisor.add(recorder("second", tmp_path))
    wait_for(lambda: "start second" in journal())
    supervisor.remove("second")
    wait_for(lambda: "stop second" in journal())
    wait_for(lambda: set(supervisor.pids()) == {"first"})

    # The name is free again.
    supervisor.add(recorder("second", tmp_path))
    wait_for(lambda: journal().count("start second") == 2)


def test_a_program_that_need_not_start_is_tried_again(runner, tmp_path):
    marker = tmp_path / "marker"
    # Fails the first time only.
    second_time_lucky = f"test -e {marker} && exec sleep 60; touch {marker}; exit 1"
    supervisor = runner.start(
        [
            Program(
                name="slot", command=["sh", "-c", second_time_lucky], must_start=False
            )
        ]
    )

    wait_for(lambda: runner.console)
    wait_for(lambda: "slot" in supervisor.pids())
    assert supervisor.started.is_set()


def test_an_owner_that_fails_when_a_program_ends_stops_no_other(tmp_path):
    def fail(name: str, pid: int, code: int) -> None:
        raise ValueError("the owner's own")

    programs = [
        Program(name=name, command=["sleep", "60"], must_start=False)
        for name in ("one", "other")
    ]
    supervisor = Supervisor([programs], on_exit=fail, console=lambda line: None)

    with supervisor.in_background():
        wait_for(lambda: len(supervisor.pids()) == 2)
        before = supervisor.pids()
        os.kill(before["one"], signal.SIGKILL)

        wait_for(lambda: supervisor.pids().get("one") not in (None, before["one"]))
        assert supervisor.pids()["other"] == before["other"]


def test_a_console_that_is_gone_stops_no_program(tmp_path):
    def fail(line: str) -> None:
        raise BrokenPipeError

    loud = Program(name="loud", command=["sh", "-c", "echo ERROR; exec sleep 60"])
    supervisor = Supervisor([[loud]], console=fail)

    with supervisor.in_background():
        pid = supervisor.pids()["loud"]
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: supervisor.pids().get("loud") not in (None, pid))


def test_a_call_that_fails_stops_no_program(runner, tmp_path, journal):
    supervisor = runner.start([recorder("first", tmp_path)])
    assert supervisor.started.wait(patient(10))

    # There is one of this name.
    supervisor.add(recorder("first", tmp_path))
    supervisor.add(recorder("second", tmp_path))

    wait_for(lambda: "start second" in journal())
    assert set(supervisor.pids()) == {"first", "second"}


def test_a_program_that_cannot_be_started_again_now_is_started_later(
    runner, monkeypatch
):
    supervisor = runner.start([Program(name="web", command=["sleep", "60"])])
    assert supervisor.started.wait(patient(10))
    spawn, failures = Child.spawn, iter([True, True])

    def spawn_later(child: Child) -> Any:
        if next(failures, False):
            raise BlockingIOError(errno.EAGAIN, "Too many processes")
        return spawn(child)

    monkeypatch.setattr(Child, "spawn", spawn_later)
    pid = supervisor.pids()["web"]

    os.kill(pid, signal.SIGKILL)

    wait_for(lambda: supervisor.pids().get("web") not in (None, pid))
    assert next(failures, None) is None


def test_in_a_with_block_it_is_up_inside_and_gone_outside():
    supervisor = Supervisor([[Program(name="web", command=["sleep", "60"])]])

    with supervisor.in_background():
        pid = supervisor.pids()["web"]
        assert is_alive(pid)

    assert not is_alive(pid)


def test_a_with_block_that_cannot_start_raises_and_is_not_entered():
    supervisor = Supervisor([[Program(name="web", command=["false"], runs_once=True)]])
    entered = False

    with (
        pytest.raises(ProgramFailedError, match=r"web stopped at its start"),
        supervisor.in_background(),
    ):
        entered = True

    assert not entered


# --- A supervisor as a process -------------------------------------------------------

MAIN = """
import signal
import sys
from workers.supervisor import Program, Supervisor, stop_on_signals

# Ignored where the tests run under nohup.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
pid_file, code = sys.argv[1:]
supervisor = Supervisor(
    [
        [Program(name="plain", command=["sleep", "600"])],
        [
            Program(
                name="deaf",
                command=[sys.executable, "-c", code, pid_file],
                patience_seconds=600,
            )
        ],
    ],
)
with stop_on_signals(supervisor):
    supervisor.run()
print("stopped in order", flush=True)
"""


@pytest.fixture
def main(tmp_path) -> Iterator[subprocess.Popen[str]]:
    """A process that supervises `sleep` and a program deaf to SIGTERM with a child."""
    process = subprocess.Popen(
        python(MAIN, tmp_path / "pid", STUBBORN),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    yield process
    process.kill()
    process.communicate()


def descendants(process: subprocess.Popen[str]) -> list[int]:
    return [child.pid for child in psutil.Process(process.pid).children(recursive=True)]


def test_kill_9_of_the_supervisor_leaves_no_process(main, tmp_path):
    read_pid(tmp_path / "pid.child")
    family = descendants(main)
    # The guard, sleep, the deaf one and its child.
    assert len(family) == 4

    main.kill()

    wait_for(lambda: not any(map(is_alive, family)), seconds=8)


def test_kill_9_of_guard_and_supervisor_still_ends_what_listens(main, tmp_path):
    if sys.platform != "linux":
        pytest.skip("Only Linux tells a process of its parent's death.")
    deaf, child = read_pid(tmp_path / "pid"), read_pid(tmp_path / "pid.child")
    family = descendants(main)
    (guard,) = [pid for pid in family if "--guard" in psutil.Process(pid).cmdline()]
    (sleeper,) = set(family) - {guard, deaf, child}

    try:
        os.kill(guard, signal.SIGKILL)
        main.kill()

        wait_for(lambda: not is_alive(sleeper), seconds=5)
    finally:
        os.killpg(deaf, signal.SIGKILL)


def test_a_guard_that_died_is_replaced_when_there_is_news_for_it(main, tmp_path):
    read_pid(tmp_path / "pid.child")
    family = descendants(main)
    (guard,) = [pid for pid in family if "--guard" in psutil.Process(pid).cmdline()]
    (sleeper,) = [pid for pid in family if psutil.Process(pid).name() == "sleep"]

    os.kill(guard, signal.SIGKILL)
    wait_for(lambda: not is_alive(guard))
    os.kill(sleeper, signal.SIGKILL)
    wait_for(lambda: len([p for p in descendants(main) if is_alive(p)]) == 4)
    family = descendants(main)
    main.kill()

    wait_for(lambda: not any(map(is_alive, family)), seconds=8)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_stop_it_in_order_and_the_second_hurries(main, tmp_path, number):
    read_pid(tmp_path / "pid.child")
    family = descendants(main)
    started = time.monotonic()

    main.send_signal(number)
    wait_for((tmp_path / "pid.heard").exists)
    # The deaf one has ten minutes; the second signal cuts it to one.
    main.send_signal(number)
    output, _ = main.communicate(timeout=patient(10))

    assert output == "stopped in order\n"
    assert main.returncode == 0
    assert time.monotonic() - started < patient(5)
    assert not any(map(is_alive, family))


def test_a_ctrl_c_in_the_terminal_does_not_reach_the_children_first(main, tmp_path):
    read_pid(tmp_path / "pid.child")

    groups = {os.getpgid(pid) for pid in descendants(main)}

    assert os.getpgid(main.pid) not in groups
