"""Jails: what a program in one sees, reaches and uses up, and that nothing of it outlives the keeper."""

import ctypes
import io
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest

from certificates import make_certified, serving_tls
from conveyor.domain.words.addresses import may_be_opened, pattern_for
from conveyor.errors import InvalidInput, MissingTool, ProjectError, StepFailed
from conveyor.pipeline.engine import isolation
from conveyor.pipeline.engine.isolation import LARGEST_HOSTS_LOG
from conveyor.pipeline.engine.keyring import folders_of_secrets
from conveyor.pipeline.jails import limits
from conveyor.pipeline.jails.door import MOST_CONNECTIONS, Door, is_open_to
from conveyor.pipeline.jails.hosts import HostsDoor
from conveyor.pipeline.jails.jail import Jail
from conveyor.pipeline.jails.limits import control_group, disk_of, exceeded, remove_left
from conveyor.pipeline.jails.view import Host, View, arguments_of, refuse_secrets
from conveyor.pipeline.jails.wall import FIRST_USER, Bubblewrap, hand_over, run_user
from conveyor.project.foreign import Sight, run_foreign
from conveyor.project.taking import make_folder, put_file, take_file, take_tree
from conveyor.project.uv import find_uv
from conveyor.settings import JOB_SETTINGS, JobLimits, job_limits
from distributions_made import make_wheel

PYTHON = os.path.realpath(sys.executable)
VARIABLES = {"PATH": os.defpath}
USER = FIRST_USER + 4000 if os.geteuid() == 0 else None


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    if USER is not None:
        hand_over(folder, USER)
    return folder


def in_jail(work: Path, code: str, **options: object) -> tuple[int, str, Jail]:
    """Run Python code in a jail that may write in ``work`` alone."""
    with Jail(work.parent, writes=[work], user=USER, **options) as jail:  # type: ignore[arg-type]
        program = jail.start([PYTHON, "-c", code], VARIABLES, work)
        output = program.output.read()
        code_ = program.wait()
        program.output.close()
    return code_, output, jail


def test_a_program_sees_the_system_and_its_own_folders(work: Path) -> None:
    (work.parent / "secret").write_text("key")
    hidden = [str(work.parent / "secret"), str(Path.home()), "/etc/shadow", "/proc/1/environ", "/sys/kernel"]
    code, output, _ = in_jail(
        work,
        "import getpass, os, pathlib, socket\n"
        f"for one in {hidden!r}:\n"
        "    try: print('SEEN', one, os.listdir(one) if os.path.isdir(one) else open(one, 'rb').read())\n"
        "    except OSError: pass\n"
        "pathlib.Path('mine').write_text('x'); pathlib.Path('/tmp/y').write_text('y')\n"
        "print(getpass.getuser(), os.environ['HOME'], socket.gethostname(), len(os.environ))\n"
        "print(sorted(os.listdir('/proc/self/fd')))\n",
    )
    assert code == 0, output
    assert output.splitlines()[-2:] == ["job /job job 4", "['0', '1', '2', '3']"]
    seen = [line for line in output.splitlines() if line.startswith("SEEN")]
    assert [line for line in seen if str(Path.home()) not in line] == []
    assert (work / "mine").read_text() == "x"
    assert list(work.parent.glob("jail-*")) == []


def test_a_program_has_no_right_of_its_keeper(work: Path) -> None:
    code, output, _ = in_jail(
        work,
        "import os\n"
        "for line in open('/proc/self/status'):\n"
        "    if line.startswith(('CapEff', 'CapBnd', 'NoNewPrivs')): print(line.split()[1])\n"
        "for name in ('/proc/sys/kernel/core_pattern', '/usr/x', '/etc/passwd'):\n"
        "    try: open(name, 'a'); print('OPENED', name)\n"
        "    except OSError: pass\n",
    )
    assert (code, output.split()) == (0, ["0000000000000000", "0000000000000000", "1"])


KEYS = """
import ctypes, sys
call = ctypes.CDLL(None, use_errno=True).syscall
add, ask, control = {"x86_64": (248, 249, 250), "aarch64": (217, 218, 219)}[sys.argv[1]]
name, user, session = sys.argv[2].encode(), -4, -3
if sys.argv[3] == "plant":
    print(*(call(add, b"user", name, b"value", 5, ring) > 0 for ring in (session, user)))
else:
    print(*(call(control, 10, ring, b"user", name, 0) > 0 for ring in (session, user)))
    print(call(ask, b"user", name, None, 0) > 0, name.decode() in open("/proc/keys").read())
"""


def test_a_jail_has_no_key_of_its_keeper_and_leaves_none_to_the_next(work: Path) -> None:
    name = f"conveyor-test-{random.getrandbits(64):x}"
    words = [PYTHON, "-c", KEYS, os.uname().machine, name]

    def in_jail_of_holder(what: str) -> list[str]:
        with Jail(work.parent, writes=[work], user=USER) as jail:
            program = jail.start([*words, what], VARIABLES, work)
            output = program.output.read()
            program.output.close()
        return output.split()

    call = ctypes.CDLL(None, use_errno=True).syscall
    add, control = {"x86_64": (248, 250), "aarch64": (217, 219)}[os.uname().machine]
    assert call(control, 1, None) > 0, "this thread has no keyring of its own"
    assert call(add, b"user", name.encode(), b"value", 5, -3) > 0
    held = subprocess.run([*words, "find"], capture_output=True, text=True, check=True).stdout.split()
    assert held == ["True", "False", "True", "True"], "the key is found where no jail is"
    assert in_jail_of_holder("find") == ["False", "False", "False", "False"]
    call(control, 1, None)
    assert in_jail_of_holder("plant") == ["False", "False"]
    assert in_jail_of_holder("find") == ["False", "False", "False", "False"]


def test_a_program_reaches_its_own_loopback_alone(work: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as outside:
        port = outside.getsockname()[1]
        code, output, _ = in_jail(
            work,
            "import socket\n"
            f"for where in (('127.0.0.1', {port}), ('192.0.2.1', 80)):\n"
            "    try: socket.create_connection(where, timeout=2); print('REACHED', where)\n"
            "    except OSError as error: print(type(error).__name__)\n"
            "here = socket.create_server(('127.0.0.1', 0))\n"
            "socket.create_connection(here.getsockname()); print('own')\n",
        )
    assert (code, output.split()) == (0, ["ConnectionRefusedError", "OSError", "own"])


SERVICE = """
import socket, time
ready = socket.socket(socket.AF_UNIX)
ready.bind("s")
ready.listen()
server = socket.create_server(("127.0.0.1", 8123))
connection, _ = server.accept()
connection.sendall(b"hello")
time.sleep(60)
"""
CLIENT = """
import socket, time
while True:
    try:
        print(socket.create_connection(("127.0.0.1", 8123)).recv(9))
        break
    except OSError:
        time.sleep(0.02)
"""


def test_programs_of_one_jail_meet(work: Path) -> None:
    with Jail(work.parent, writes=[work], user=USER) as jail:
        assert not jail.answers(port=8124)
        service = jail.start([PYTHON, "-c", SERVICE], VARIABLES, work)
        deadline = time.monotonic() + 20
        while not jail.answers(path=work / "s") and time.monotonic() < deadline:
            time.sleep(0.02)
        client = jail.start([PYTHON, "-c", CLIENT], VARIABLES, work)
        assert client.output.read() == "b'hello'\n"
        assert client.wait() == 0
        assert service.poll() is None
        with pytest.raises(MissingTool, match="no-such-program"):
            jail.start(["no-such-program"], VARIABLES, work)
    assert service.wait() == -signal.SIGKILL
    for one in (service, client):
        one.output.close()


FILL = "import itertools\nfor i in itertools.count(): "
NAMELESS = """
import os
kept = []
while True:
    kept.append(open("f", "wb"))
    os.unlink("f")
    kept[-1].write(b"x" * 5 * 10**6)
    kept[-1].flush()
"""
CHILDREN = """
import os, time
while True:
    if not os.fork():
        until = time.process_time() + 0.2
        while time.process_time() < until:
            pass
        os._exit(0)
    os.wait()
"""
EXCEEDING = {
    "takes memory without end": ("memory_bytes", "x = []\nwhile True: x.append(bytearray(10**7))"),
    "fills shared memory": ("memory_bytes", FILL + "open(f'/dev/shm/{i}', 'wb').write(b'x' * 10**7)"),
    "starts 2,000 processes": (
        "processes",
        "import os, time\nfor _ in range(2000):\n  if not os.fork(): time.sleep(60)",
    ),
    "writes files without end": ("disk_bytes", FILL + "open(f'f{i}', 'wb').write(b'x' * 10**6)"),
    "writes one file without end": ("disk_bytes", "f = open('f', 'wb')\nwhile True: f.write(b'x' * 10**6)"),
    "keeps deleted files open": ("disk_bytes", NAMELESS),
    "computes in children that end": ("cpu_seconds", CHILDREN),
    "sleeps": ("seconds", "import time\ntime.sleep(60)"),
    "writes output without end": ("log_bytes", "while True: print('x' * 10**5)"),
    "opens files without end": ("open_files", FILL + "globals()[f'f{i}'] = open('/dev/null')"),
}
"""What a program does → the limit that it exceeds, and its code."""
BOUNDS = JobLimits(
    memory_bytes=200 * 2**20, processes=50, cpu_seconds=1, seconds=8, open_files=64,
    disk_bytes=100 * 2**20, log_bytes=4 * 2**20,
)  # fmt: skip


@pytest.mark.parametrize("what", EXCEEDING)
def test_whatever_exceeds_a_limit_ends_with_a_sentence_that_names_its_setting(work: Path, what: str) -> None:
    limit, code = EXCEEDING[what]
    bounds = replace(BOUNDS, seconds=1) if what == "sleeps" else BOUNDS
    told: list[str] = []
    wall = Bubblewrap(work.parent, user=USER, limits=bounds)
    done = run_foreign([PYTHON, "-c", code], Sight(VARIABLES, wall=wall), folder=work, on_line=told.append)
    assert done.return_code
    with control_group("conveyor-test-probe", bounds) as group:
        is_bounded_as_a_whole = group is not None
    sentence = exceeded(limit, bounds)
    assert JOB_SETTINGS[limit] in sentence
    assert told[-1].endswith(sentence), done
    assert done.output.endswith(f"{told[-1]}\n")
    is_refused_by_the_kernel = what in {"writes one file without end", "opens files without end"} or (
        what in {"takes memory without end", "starts 2,000 processes"} and not is_bounded_as_a_whole
    )
    if not is_refused_by_the_kernel:  # the jail was ended, whatever the program made of it
        assert done.spent == sentence


@pytest.mark.parametrize(
    "what",
    [
        "takes memory without end",
        "starts 2,000 processes",
        "computes in children that end",
        "keeps deleted files open",
    ],
)
def test_limits_hold_where_no_control_group_can_be_made(
    work: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "own_groups", lambda groups, mounts: {})
    limit, code = EXCEEDING[what]
    if USER is not None and what == "starts 2,000 processes":
        code = code.replace("range(2000)", "range(60)")  # counted for all jails of that user together
    wall = Bubblewrap(work.parent, user=USER, limits=BOUNDS)
    done = run_foreign([PYTHON, "-c", code], Sight(VARIABLES, wall=wall), folder=work)
    assert done.return_code
    assert done.output.endswith(f"{exceeded(limit, BOUNDS)}\n")


def test_settings_of_a_worker_bound_its_jobs() -> None:
    given = {name: str(number) for number, name in enumerate(JOB_SETTINGS.values(), 1)}
    assert job_limits(given) == JobLimits(**{name: at for at, name in enumerate(JOB_SETTINGS, 1)})
    assert set(JOB_SETTINGS) == {one.name for one in fields(JobLimits)}
    assert job_limits({}) == JobLimits()
    with pytest.raises(InvalidInput, match="CONVEYOR_JOB_PROCESSES is not a whole number"):
        job_limits({"CONVEYOR_JOB_PROCESSES": "many"})


def test_program_that_two_threads_wait_for_ends_for_both(work: Path) -> None:
    """The thread that looks whether a run was cancelled ends what the thread of the run waits for."""
    with Jail(work.parent, writes=[work], user=USER) as jail:
        program = jail.start(["sleep", "60"], VARIABLES, work)
        codes: list[int] = []
        waiting = [Thread(target=lambda: codes.append(program.wait())) for _ in range(2)]
        for thread in waiting:
            thread.start()
        program.end()
        for thread in waiting:
            thread.join(timeout=20)
        program.output.close()
    assert codes == [-signal.SIGKILL] * 2


def test_what_leaves_its_session_ends_with_the_jail(work: Path) -> None:
    token = f"leaves-{random.getrandbits(64):x}"
    wall = Bubblewrap(work.parent, user=USER)
    command = ["sh", "-c", f"env -i setsid sh -c 'sleep 300; : {token}' >/dev/null 2>&1 & echo started"]
    done = run_foreign(command, Sight(VARIABLES, wall=wall), folder=work)
    assert (done.return_code, done.output) == (0, "started\n")
    assert processes_with(token) == []


KEEPER = """
import sys
from pathlib import Path
from conveyor.pipeline.jails.hosts import HostsDoor
from conveyor.pipeline.jails.jail import Jail
with Jail(Path(sys.argv[1]).parent, writes=[Path(sys.argv[1])], user=eval(sys.argv[3])) as jail:
    waiting = f"sleep 300; : {sys.argv[2]}"
    one = jail.start(["sh", "-c", f"env -i setsid sh -c '{waiting}' & {waiting}"],
                     {"PATH": "/usr/bin:/bin"}, Path(sys.argv[1]))
    print("started", flush=True)
    one.wait()
"""


def keeper_killed_after(work: Path, milliseconds: float) -> None:
    token = f"killed-{random.getrandbits(64):x}"
    keeper = subprocess.Popen(
        [sys.executable, "-c", KEEPER, str(work), token, repr(USER)], stdout=subprocess.PIPE
    )
    assert keeper.stdout is not None
    if milliseconds < 0:
        keeper.stdout.readline()
        milliseconds = -milliseconds
    time.sleep(milliseconds / 1000)
    keeper.kill()
    keeper.wait()
    keeper.stdout.close()
    deadline = time.monotonic() + 5
    while (left := processes_with(token)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert left == []


@pytest.mark.parametrize("milliseconds", [-1, 120, 180])
def test_nothing_outlives_a_killed_keeper(work: Path, milliseconds: float) -> None:
    keeper_killed_after(work, milliseconds)


@pytest.mark.torture
def test_nothing_outlives_a_keeper_killed_at_any_moment(work: Path) -> None:
    chance = random.Random(7)  # noqa: S311 - moments
    for _ in range(60):
        keeper_killed_after(work, chance.uniform(-20, 400))


def processes_with(token: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if token.encode() in words and int(path.parent.name) != os.getpid():
            found.append(int(path.parent.name))
    return found


# The door to the store


@pytest.mark.parametrize(
    ("target", "is_open"),
    [
        ("/team/testing/simple/six/", True),
        ("/team/testing/simple/", True),
        ("/packages/0123abcd/six-1.17.0-py3-none-any.whl", True),
        ("/packages/0123abcd/six-1.17.0-py3-none-any.whl.metadata", True),
        ("/team/testing/simple/../../../api/v1/status", False),
        ("/team/testing/simple/%2e%2e/api", False),
        ("/team/testing/simple/%2E%2E%2Fapi", False),
        ("/team/testing/simple/a?x=1", False),
        ("/other/simple/six/", True),
        ("/a/b/c/simple/six/", False),
        ("//simple/six/", False),
        ("/simple/six/", False),
        ("/team/testing/", False),
        ("/team/testing", False),
        ("/packages", False),
        ("/api/v1/status", False),
        ("//packages/x", False),
        ("http://elsewhere.example/packages/x", False),
        ("/team/testing/simple/six/ HTTP/1.1", False),
        ("", False),
        ("*", False),
    ],
)
def test_the_door_is_open_to_simple_pages_and_files(target: str, is_open: bool) -> None:
    assert is_open_to(target) is is_open


class _Store(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        content = f"{self.path} {self.headers['Authorization']} {self.headers['X-Other']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Set-Cookie", "secret=1")
        self.end_headers()
        self.wfile.write(content)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        pass


@contextmanager
def store() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Store) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_jail_reaches_the_store_through_its_door_and_never_sees_the_token(work: Path) -> None:
    asks = """
import urllib.error, urllib.request
for path in ("/pypi/simple/six/", "/packages/0/x.whl", "/api/v1/status", "/simple/"):
    ask = urllib.request.Request("http://127.0.0.1:47301" + path)
    ask.add_header("X-Other", "o")
    ask.add_header("Authorization", "Basic eA==")
    try:
        answer = urllib.request.urlopen(ask)
        print(answer.status, answer.read().decode(), answer.headers["Set-Cookie"])
    except urllib.error.HTTPError as error:
        print(error.code, error.read().decode().strip())
"""
    refused = "403 a job reaches the simple pages of indexes and their files, and nothing else"
    with store() as url, Door(work.parent, url, token="t0k3n") as door:
        code, output, _ = in_jail(work, asks, door=door.path)
    assert code == 0, output
    assert output.splitlines() == [
        "200 /pypi/simple/six/ Bearer t0k3n None None",
        "200 /packages/0/x.whl Bearer t0k3n None None",
        refused,
        refused,
    ]


def test_door_waits_for_a_store_that_is_restarted(tmp_path: Path) -> None:
    with store() as url:
        port = int(url.rpartition(":")[2])
    answers: list[bytes] = []

    def ask() -> None:
        answer = door.ask("GET", "/pypi/simple/six/", {})
        assert answer is not None
        answers.append(answer.read())

    with Door(tmp_path, url) as door:
        asking = Thread(target=ask)
        asking.start()
        time.sleep(0.5)
        assert answers == []
        with ThreadingHTTPServer(("127.0.0.1", port), _Store) as server:
            Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
            asking.join(timeout=20)
            server.shutdown()
    assert answers == [b"/pypi/simple/six/ None None"]


# The way to the hosts that the policy names


@pytest.mark.parametrize(
    ("host", "port", "pattern"),
    [
        ("packages.example", 443, "packages.example"),
        ("Packages.Example.", 443, "packages.example"),
        ("packages.example", 8443, None),
        ("packages.example.attacker.example", 443, None),
        ("a.mirror.example", 8443, "*.mirror.example:8443"),
        ("a.b.mirror.example", 8443, "*.mirror.example:8443"),
        ("mirror.example", 8443, None),
        ("amirror.example", 8443, None),
        ("a.mirror.example", 443, None),
        ("", 443, None),
    ],
)
def test_a_pattern_names_hosts_by_whole_labels_and_port(host: str, port: int, pattern: str | None) -> None:
    assert pattern_for(host, port, ("packages.example", "*.mirror.example:8443")) == pattern


@pytest.mark.parametrize(
    ("address", "pattern", "is_open"),
    [
        ("93.184.215.14", "packages.example", True),
        ("10.0.0.5", "packages.example", False),
        ("127.0.0.1", "*.example", False),
        ("169.254.169.254", "packages.example", False),
        ("::ffff:10.0.0.5", "packages.example", False),
        ("10.0.0.5", "10.0.0.5:8443", True),
        ("10.0.0.5", "nexus.internal", True),
        ("127.0.0.1", "localhost:8443", True),
        ("10.0.0.5", "*.internal", False),
    ],
)
def test_a_private_address_is_opened_only_where_the_pattern_is_plainly_local(
    address: str, pattern: str, is_open: bool
) -> None:
    assert may_be_opened(address, pattern) is is_open


class _Registry(BaseHTTPRequestHandler):
    """A simple index over TLS, with one wheel."""

    wheel = make_wheel("extra", "1.0")

    def do_GET(self) -> None:
        link = f'<a href="/{self.wheel.filename}#sha256={self.wheel.sha256}">{self.wheel.filename}</a>'
        content = self.wheel.content if self.path.endswith(".whl") else link.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def do_HEAD(self) -> None:
        self.do_GET()  # uv asks so for the size of a wheel

    def log_request(self, code: object = "-", size: object = "-") -> None:
        pass


ASKS = """
import sys, urllib.request
for url in sys.argv[1:]:
    try:
        print(urllib.request.urlopen(url, timeout=5).status)
    except OSError as error:
        print(error)
"""


def test_builds_alone_reach_the_hosts_that_the_policy_names(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, certificate = make_certified(work.parent / "tls")
    noted: list[str] = []
    with serving_tls(_Registry, certificate) as server, HostsDoor(work.parent, noted.append) as door:
        url = f"https://localhost:{server.server_port}"
        wall = Bubblewrap(work.parent / "jails", user=USER, hosts=door)
        sight = Sight(VARIABLES | {"SSL_CERT_FILE": authority}, is_build=True, wall=wall)
        here = f"https://127.0.0.1:{server.server_port}"
        asking = [PYTHON, "-c", ASKS, url, "https://other.example/", here]
        door.hosts = (f"localhost:{server.server_port}", "named.example")
        # 1. A real client installs from there.
        uv = [find_uv(), "--no-config", "--no-cache", "pip", "install", "--python", PYTHON]
        shown = replace(sight, reads=(Path(find_uv()), Path(PYTHON)))
        done = run_foreign(
            [*uv, "--target", "there", "--index-url", f"{url}/simple", "extra"], shown, folder=work
        )
        assert done.return_code == 0, done.output
        assert list((work / "there").glob("extra-1.0.dist-info"))
        # 2. Others are refused, and what the client shows says why; nothing else is a way out.
        done = run_foreign(asking, sight, folder=work)
        said = f"403 the policy names no host other.example:443 for builds; it names {', '.join(door.hosts)}"
        assert done.output.splitlines()[:2] == ["200", f"<urlopen error Tunnel connection failed: {said}>"]
        assert "Connection refused" in done.output.splitlines()[2]
        asked = [PYTHON, "-c", "import os; print(*sorted(one for one in os.environ if one.isupper()))"]
        named = run_foreign(asked, sight, folder=work).output.split()
        assert set(named) >= {"HTTPS_PROXY", "JAVA_TOOL_OPTIONS", "NO_PROXY", "PATH"}
        # 3. A name that leads into the network of the keeper, as a resolver may say at any time.
        monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [(0, 0, 0, "", ("10.0.0.5", 443))])
        done = run_foreign([*asking[:3], "https://named.example/"], sight, folder=work)
        assert "403 named.example leads to 10.0.0.5, a private address" in done.output
        monkeypatch.undo()
        # 4. What is no build has no way out, nor has a build whose project names no host.
        for other in (replace(sight, is_build=False), sight):
            done = run_foreign(asking[:4], other, folder=work)
            assert "Tunnel" not in done.output
            assert "200" not in done.output
            door.hosts = ()
    assert f"opened localhost:{server.server_port}" in noted
    assert [line.partition(":")[0] for line in noted if "refused" in line] == [
        "refused other.example",
        "refused named.example",
    ]


class _MachinesProxy(BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_CONNECT(self) -> None:
        self.asked.append(f"{self.path} {self.headers['Proxy-Authorization']}")
        self.wfile.write(b"HTTP/1.1 200 ok\r\n\r\n")
        self.wfile.write(self.connection.recv(9).upper())

    def log_request(self, code: object = "-", size: object = "-") -> None:
        pass


def test_hosts_are_reached_through_the_proxy_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[str] = []
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), _MachinesProxy) as server,
        HostsDoor(tmp_path, noted.append) as door,
        socket.socket(socket.AF_UNIX) as client,
    ):
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
        monkeypatch.setenv("https_proxy", f"http://ann:p%40ss@127.0.0.1:{server.server_port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        door.hosts = ("packages.example",)
        client.connect(str(door.path))
        client.sendall(b"CONNECT packages.example:443 HTTP/1.1\r\nHost: packages.example\r\n\r\n")
        assert client.recv(100) == b"HTTP/1.1 200 connected\r\n\r\n"
        client.sendall(b"hello tls")
        assert client.recv(100) == b"HELLO TLS"
        server.shutdown()
    assert noted == ["opened packages.example:443"]
    assert _MachinesProxy.asked == ["packages.example:443 Basic YW5uOnBAc3M="]


@pytest.mark.parametrize("kind", ["store", "hosts"])
def test_a_door_serves_so_many_connections_at_a_time_and_lets_others_wait(tmp_path: Path, kind: str) -> None:
    door = Door(tmp_path, "http://127.0.0.1:9") if kind == "store" else HostsDoor(tmp_path, print)
    ask, refusal = b"CONNECT x:1 HTTP/1.1\r\n\r\n", b"HTTP/1.1 403"
    if kind == "store":
        ask = b"GET /api HTTP/1.1\r\nConnection: close\r\n\r\n"
    with door, ExitStack() as stack:
        held = []
        for _ in range(MOST_CONNECTIONS + 1):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(str(door.path))
            held.append(client)
        held[-1].sendall(ask)
        held[-1].settimeout(0.3)
        with pytest.raises(TimeoutError):
            held[-1].recv(100)
        held[0].close()
        held[-1].settimeout(20)
        assert held[-1].recv(100).startswith(refusal)
        for one in [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(3)]:
            one.connect(str(door.path))  # it closes while some wait


def test_the_log_of_hosts_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "hosts.log"
    for _ in range(40):
        isolation._append(path, "x" * (LARGEST_HOSTS_LOG // 20))
    assert path.stat().st_size < 1.1 * LARGEST_HOSTS_LOG
    assert path.read_text().endswith("x\nfurther attempts are not noted\n")


def test_a_limit_above_that_of_the_machine_is_the_machines(work: Path) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    code, output, _ = in_jail(
        work,
        "import resource; print(*resource.getrlimit(resource.RLIMIT_NOFILE))",
        limits=replace(JobLimits(), open_files=most + 1),
    )
    assert (code, output.split()) == (0, [str(most), str(most)])


# Plans


def view_of(**changes: object) -> View:
    paths = {"temporary": Path("/s/tmp"), "home": Path("/s/home"), "identity": Path("/s/etc")}
    return View(**({"reads": (), "writes": ()} | paths | changes))  # type: ignore[arg-type]


def test_folders_are_shown_from_the_outermost_with_plain_parents() -> None:
    view = view_of(reads=(Path("/r/a/b"), Path("/r/a")), writes=(Path("/r/a/b/c"),), user=7)
    words = arguments_of(view, Host({"/bin": "usr/bin"}, ("/usr",)))
    binds = [
        words[at + 1]
        for at, word in enumerate(words)
        if word in {"--bind", "--ro-bind"} and words[at + 1].startswith("/r")
    ]
    assert binds == ["/r/a", "/r/a/b", "/r/a/b/c"]
    assert words[words.index("/r") - 3 : words.index("/r") + 1] == ["--perms", "0755", "--dir", "/r"]
    assert "--unshare-user" not in words
    assert "--unshare-user" in arguments_of(view_of(), Host())


def test_a_view_never_shows_the_workers_own_files() -> None:
    view = view_of(reads=(Path("/opt/python"), Path("/srv/w")), writes=(Path("/srv/state"),))
    with pytest.raises(ProjectError) as caught:
        refuse_secrets(view, [Path("/srv/w/.config/worker.json"), Path("/srv/state"), Path("/etc/x")])
    assert caught.value.message.endswith(
        "/srv/state holds /srv/state; /srv/w holds /srv/w/.config/worker.json"
    )


def test_a_view_shows_nothing_that_lies_in_a_folder_of_secrets(tmp_path: Path) -> None:
    state, link = tmp_path / "state", tmp_path / "project"
    keys, accounts = folders_of_secrets(state)
    for folder in (keys, accounts):
        (folder / "one").mkdir(parents=True)
    link.symlink_to(accounts / "one")
    refuse_secrets(view_of(reads=(state / "work",)), [keys, accounts])
    for shown in (accounts / "one" / "token", keys / "one", link, accounts):
        with pytest.raises(ProjectError, match="the worker's own files"):
            refuse_secrets(view_of(reads=(shown,)), [keys, accounts])
        with pytest.raises(ProjectError, match="the worker's own files"):
            refuse_secrets(view_of(writes=(shown,)), [keys, accounts])


def test_a_linked_file_is_copied_before_it_is_handed_over(tmp_path: Path) -> None:
    if USER is None:
        pytest.skip("only root can hand files over")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "object").write_text("x")
    os.link(tmp_path / "ours" / "object", tmp_path / "theirs" / "object")
    (tmp_path / "theirs" / "link").symlink_to(tmp_path / "ours")
    hand_over(tmp_path / "theirs", USER)
    assert (tmp_path / "ours" / "object").stat().st_uid == os.geteuid()
    assert (tmp_path / "theirs" / "object").stat().st_uid == USER
    assert (tmp_path / "theirs" / "object").read_text() == "x"


def test_runs_at_one_time_have_users_of_their_own(tmp_path: Path) -> None:
    with run_user(tmp_path) as one, run_user(tmp_path) as other:
        assert (one is None) == (other is None) == (os.geteuid() != 0)
        assert one is None or (one, other) == (FIRST_USER, FIRST_USER + 1)


# What the keeper takes out


def test_the_keeper_takes_plain_files_alone(tmp_path: Path) -> None:
    job, secret = tmp_path / "job", tmp_path / "secret"
    (job / "deep").mkdir(parents=True)
    secret.write_text("key")
    (job / "deep" / "good").write_text("content")
    (job / "link").symlink_to(secret)
    (job / "folder").symlink_to(tmp_path)
    os.link(secret, job / "twin")
    os.mkfifo(job / "pipe")
    (job / "large").write_bytes(b"x" * 100)
    take_file(job, "deep/good", tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "content"
    for path in (
        "link",
        "folder/secret",
        "twin",
        "pipe",
        "deep",
        "deep/../link",
        "/etc/passwd",
        "good/x",
        "",
    ):
        with pytest.raises((StepFailed, FileNotFoundError)):
            take_file(job, path, tmp_path / "other")
        assert not (tmp_path / "other").exists()
    with pytest.raises(StepFailed, match="larger than"):
        take_file(job, "large", tmp_path / "other", largest=99)
    with pytest.raises(FileNotFoundError):
        take_file(job, "deep/none", tmp_path / "other")


def test_empty_files_and_folders_of_a_jail_count_as_disk(tmp_path: Path) -> None:
    for name in range(10):
        (tmp_path / f"file{name}").touch()
    (tmp_path / "folder").mkdir()
    assert disk_of([tmp_path]) >= 11 * 4096


def test_the_keeper_writes_through_no_link(tmp_path: Path) -> None:
    clone, outside = tmp_path / "clone", tmp_path / "outside"
    (clone / "src").mkdir(parents=True)
    outside.mkdir()
    (outside / "kept").write_text("as it was")
    put_file(clone, "src/model/weights", io.BytesIO(b"a longer first one"))
    put_file(clone, "src/model/weights", io.BytesIO(b"trained"))
    assert (clone / "src" / "model" / "weights").read_text() == "trained"
    (clone / "src" / "folder").symlink_to(outside)
    (clone / "src" / "file").symlink_to(outside / "kept")
    (clone / "src" / "dangling").symlink_to(outside / "new")
    os.link(outside / "kept", clone / "src" / "twin")
    os.mkfifo(clone / "src" / "pipe")
    for path in (
        *("src/folder/new", "src/folder/deep/new", "src/file", "src/dangling", "src/twin", "src/pipe"),
        *("src/model", "src/model/weights/new", "src/../../outside/new", str(outside / "new"), ""),
    ):
        with pytest.raises(StepFailed):
            put_file(clone, path, io.BytesIO(b"trained"))
    assert {one.name: one.read_text() for one in outside.iterdir()} == {"kept": "as it was"}


def test_the_keeper_makes_folders_through_no_link(tmp_path: Path) -> None:
    suite, outside = tmp_path / "suite", tmp_path / "outside"
    for one in (suite, outside):
        one.mkdir()
    for path in ("out/reports", "out/reports", "."):
        make_folder(suite, path)
    assert (suite / "out" / "reports").is_dir()
    (suite / "linked").symlink_to(outside)
    for path in ("linked", "linked/reports", "out/../../outside/reports", str(outside / "reports")):
        with pytest.raises(StepFailed):
            make_folder(suite, path)
    assert not list(outside.iterdir())


def test_the_keeper_takes_a_tree_without_its_links(tmp_path: Path) -> None:
    job = tmp_path / "job"
    (job / "deep").mkdir(parents=True)
    (job / "deep" / "page").write_text("p")
    (job / "deep" / "key").symlink_to("/etc/passwd")
    (job / "up").symlink_to("..")
    os.mkfifo(job / "pipe")
    assert take_tree(job, tmp_path / "taken") == ["deep/key", "pipe", "up"]
    found = sorted(
        path.relative_to(tmp_path / "taken").as_posix() for path in (tmp_path / "taken").rglob("*")
    )
    assert found == ["deep", "deep/page"]
    with pytest.raises(StepFailed, match="more than 0 files"):
        take_tree(job, tmp_path / "again", most_files=0)


def test_groups_that_killed_keepers_left_are_removed_once_they_are_old(tmp_path: Path) -> None:
    for name in ("conveyor-jail-old", "conveyor-jail-used/job", "conveyor-jail-new", "another"):
        (tmp_path / name).mkdir(parents=True)
        if "new" not in name:
            os.utime((tmp_path / name).parent if "/" in name else tmp_path / name, (0, 0))
    remove_left(tmp_path)
    assert {one.name for one in tmp_path.iterdir()} == {"conveyor-jail-used", "conveyor-jail-new", "another"}
