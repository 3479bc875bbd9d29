"""`manage.py runstack` as a process: it comes up, it is alone, it leaves nothing."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator

import psutil
import pytest
import requests

from tests.support.processes import is_alive
from tests.support.receivers import running_receiver
from tests.support.stacks import RunStack
from tests.support.waiting import patient, wait_for
from workers.stack import Stack, free_port, listens

# Several starts in one test, each a dozen seconds on two busy cores.
pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Iterator[RunStack]:
    with RunStack(tmp_path_factory.mktemp("stack")) as stack:
        stack.start()
        yield stack


@pytest.fixture
def own_stack(tmp_path) -> Iterator[RunStack]:
    with RunStack(tmp_path) as stack:
        yield stack


def test_the_printed_addresses_answer(stack):
    printed = "\n".join(stack.lines)
    url = f"http://127.0.0.1:{stack.port}"

    assert f"{url}/admin/" in printed
    assert requests.get(f"{url}/admin/login/", timeout=patient(20)).ok


def test_flower_wants_its_password_and_sees_the_queues(stack):
    url = f"http://127.0.0.1:{stack.flower_port}"
    password = (stack.data_dir / "flower_password").read_text()

    def queues() -> dict[str, int]:
        answer = requests.get(
            f"{url}/api/queues/length", auth=("operator", password), timeout=patient(20)
        )
        assert answer.status_code == 200, answer.text
        return {
            queue["name"]: queue["messages"] for queue in answer.json()["active_queues"]
        }

    assert requests.get(f"{url}/api/workers", timeout=patient(20)).status_code == 401
    expected = {"prepare.high", "prepare.normal", "prepare.low", "callbacks"}
    wait_for(lambda: set(queues()) == expected, seconds=20)


def test_the_end_of_a_task_is_told_to_its_client(stack):
    url = f"{stack.url}/api/v1/tasks/"

    with running_receiver() as receiver:
        submitted = requests.post(
            url,
            headers={"Authorization": f"Bearer {stack.key}"},
            files={"file": ("notes.txt", b"no recording")},
            data={"callback_url": receiver.url},
            timeout=patient(20),
        )
        assert submitted.status_code == 201, submitted.text
        wait_for(lambda: receiver.received, seconds=30)

    (event,) = [request.json() for request in receiver.received]
    assert event["type"] == "task.failed"
    assert event["data"]["id"] == submitted.json()["id"]
    assert event["data"]["error"]["code"] == "invalid_media"


def test_flower_can_be_looked_at_only(stack):
    url = f"http://127.0.0.1:{stack.flower_port}"
    password = (stack.data_dir / "flower_password").read_text()

    answer = requests.post(
        f"{url}/api/task/async-apply/any",
        auth=("operator", password),
        json={},
        timeout=patient(20),
    )

    assert answer.status_code == 403


def test_no_secret_stands_on_a_command_line(stack):
    password = (stack.data_dir / "flower_password").read_text()
    commands = [" ".join(psutil.Process(pid).cmdline()) for pid in stack.family()]

    assert any("flower" in command for command in commands)
    assert not any(password in command for command in commands)


def test_a_second_stack_of_the_same_data_folder_is_refused(stack):
    message = RunStack(stack.data_dir).refused()

    assert message.startswith(
        "CommandError: A stack of this data folder already runs "
        f"(process {stack.process.pid})."
    )


@pytest.mark.parametrize(
    ("attribute", "variable"),
    [("port", "WHISPERHUB_PORT"), ("flower_port", "WHISPERHUB_FLOWER_PORT")],
)
def test_a_port_in_use_is_named_with_its_variable(own_stack, attribute, variable):
    with socket.create_server(("127.0.0.1", getattr(own_stack, attribute))) as busy:
        message = own_stack.refused()

        port = busy.getsockname()[1]
        assert message.startswith(f"CommandError: Port {port} on 127.0.0.1 is in use.")
        assert variable in message


def test_kill_9_leaves_nothing_and_ctrl_c_stops_everything(own_stack):
    own_stack.start()
    family = own_stack.family()
    # Guard, broker, web, media and its pool, callbacks, dispatcher, flower.
    assert len(family) >= 8
    own_stack.process.kill()
    own_stack.end()
    # At once, while the guard is still at work: it waits for its turn.
    own_stack.start()

    assert not any(map(is_alive, family))

    family = own_stack.family()
    own_stack.process.send_signal(signal.SIGINT)
    assert own_stack.end().splitlines()[-1] == "Stopped."
    assert own_stack.process.returncode == 0
    assert not any(map(is_alive, family))


def test_a_with_block_runs_a_stack_whose_web_processes_are_replaced(tmp_path, settings):
    settings.WEB_PROCESSES = 2
    port = free_port()
    stack = Stack(
        data_dir=tmp_path,
        port=port,
        broker_url="",
        parts=["broker", "migrate", "web"],
    )

    with stack:
        assert stack.url == f"http://127.0.0.1:{port}"
        assert requests.get(f"{stack.url}/admin/login/", timeout=patient(20)).ok
        pids = list(stack.pids().values())
        assert len(pids) == 2
        # They share the port.
        first, second = two_serving(stack)
        psutil.Process(first).kill()
        now = two_serving(stack, without=first)
        assert second in now
        assert requests.get(f"{stack.url}/healthz", timeout=patient(20)).ok

    assert not any(map(is_alive, [*pids, *now]))
    assert (tmp_path / "whisperhub.sqlite3").exists()


def two_serving(stack: Stack, *, without: int = 0) -> list[int]:
    """The ids of the web server's processes, once there are two that listen."""
    parent = psutil.Process(stack.pids()["web"])

    def serving() -> list[int]:
        pids = [child.pid for child in parent.children()]
        return [pid for pid in pids if pid != without and listens(pid, stack.port)]

    wait_for(lambda: len(serving()) == 2, seconds=60)
    return serving()
