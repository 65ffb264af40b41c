"""`docker compose up` for real: frames are answered and rebuilt, every service may be killed, and the listener reaches
neither edge nor cloud. Needs an engine (`.ci/run` brings one where it can); the figures are printed (`pytest -s`)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.compose.running import Demo, needs_an_engine

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 300.0
SERVICES = ("redis", "cloud", "attacker", "worker", "link", "edge", "console")
PORTS = (7000, 7101, 8080)

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1200)]

REACH = """
import json, socket, sys
def names(host):
    try:
        return sorted({entry[4][0] for entry in socket.getaddrinfo(host, None)})
    except OSError:
        return []
def dial(host, port):
    try:
        socket.create_connection((host, port), 2).close()
    except OSError as error:
        return type(error).__name__
    return "open"
asked = json.load(sys.stdin)
print(json.dumps({
    "names": {host: names(host) for host in asked["names"]},
    "dials": {f"{host}:{port}": dial(host, port) for host in asked["hosts"] for port in asked["ports"]},
}))
"""

ASK = """
import httpx, json, os
def status(url, token):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.get(url, headers=headers, trust_env=False).status_code
own, listeners = os.environ["EAVESPLIT_CONTROL_TOKEN"], os.environ["EAVESPLIT_ATTACKER_TOKEN"]
print(json.dumps({
    host: [status(f"http://{host}:7101/state", token) for token in ("", listeners, own)]
    for host in ("edge.control", "link.control", "cloud.control", "attacker.results")
}))
"""

CONFINED = """
import json, os
caps = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
def writable(path):
    try:
        open(os.path.join(path, "probe"), "w").close()
    except OSError:
        return False
    return True
print(json.dumps({
    "uid": os.getuid(), "effective": int(caps["CapEff"], 16), "bounding": int(caps["CapBnd"], 16),
    "no_new_privileges": int(caps["NoNewPrivs"]), "forwards": int(open("/proc/sys/net/ipv4/ip_forward").read()),
    "writable": [path for path in ("/", "/app", "/etc", "/opt/venv") if writable(path)],
}))
"""


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    needs_an_engine()
    running = Demo()
    begin = time.monotonic()
    running.compose("build")
    built = time.monotonic()
    try:
        running.compose("up", "-d", "--wait", "--wait-timeout", "600")
        healthy = time.monotonic()
        running.first_reconstruction()
        shown = time.monotonic()
        size = int(running.docker("image", "inspect", "-f", "{{.Size}}", "eavesplit:local"))
        print(f"\nimage {size / 1e9:.2f} GB, built in {built - begin:.0f} s")
        print(f"up: healthy in {healthy - built:.0f} s, first reconstruction on the page in {shown - built:.0f} s")
        yield running
        print("\n" + running.docker("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}"))
    finally:
        running.compose("down", "-v", "--timeout", "5")


def goes_on(demo: Demo, what: str) -> None:
    """Frames that were not there before are answered, captured, inverted, scored and shown."""
    before = demo.until(lambda s: s["status"]["next_frame"] is not None, what)
    frame = before["status"]["next_frame"]
    demo.until(
        lambda s: (
            s["status"]["next_frame"] > frame + 1
            and s["wire"]["frame"] > frame
            and s["scores"].get("concretizer", {"frame": -1})["frame"] >= frame
        ),
        what,
    )


def test_frames_are_answered_and_rebuilt(demo: Demo) -> None:
    first = demo.until(lambda s: "concretizer" in s["scores"], "no reconstruction is scored")
    answered = first["status"]["counts"]["answered"]
    then = demo.until(lambda s: s["status"]["counts"]["answered"] > answered + 3, "answers do not grow")
    assert all(process["up"] for process in then["status"]["processes"].values())
    assert then["status"]["counts"]["inverted"] > 0
    assert then["status"]["knowledge"]["guard"]["audit_hook"] is True
    page = httpx.get(demo.url, trust_env=False)
    assert page.status_code == 200
    assert "eavesplit" in page.text
    assert httpx.get(f"{demo.url}/plotly.js", trust_env=False).status_code == 200


def test_the_listener_reaches_neither_edge_nor_cloud(demo: Demo) -> None:
    addresses = {
        service: [n["IPAddress"] for n in demo.inspect(service)["NetworkSettings"]["Networks"].values()]
        for service in ("edge", "cloud", "link", "console")
    }
    secret = ["edge", "cloud", "edge.control", "cloud.control", "cloud.last-mile", "link.first-mile", "link.control"]
    asked = {
        "names": [*secret, "console.page"],
        "hosts": [a for found in addresses.values() for a in found],
        "ports": PORTS,
    }
    for service in ("attacker", "worker"):
        found = demo.inside(service, REACH, json.dumps(asked))
        assert not any(found["names"].values()), found["names"]
        assert [where for where, answer in found["dials"].items() if answer == "open"] == []
        for address in addresses["edge"] + addresses["cloud"]:  # no way there at all, whatever listens
            assert {found["dials"][f"{address}:{port}"] for port in PORTS} <= {"OSError", "TimeoutError"}
    # the same program finds what the listener may have
    asked = {"names": ["link", "console"], "hosts": ["redis"], "ports": [6379]}
    met = demo.inside("attacker", REACH, json.dumps(asked))
    assert all(met["names"].values())
    assert met["dials"] == {"redis:6379": "open"}


def test_the_listener_has_no_volume_of_the_others_and_no_key_to_them(demo: Demo) -> None:
    mounts = {s: [m["Name"] for m in demo.inspect(s)["Mounts"] if m["Type"] == "volume"] for s in SERVICES}
    assert {service: names for service, names in mounts.items() if names} == {
        "edge": ["eavesplit-test_truth"],
        "attacker": ["eavesplit-test_capture"],
        "link": ["eavesplit-test_spool"],
    }
    listing = "import json, os; print(json.dumps(sorted(os.listdir('/data'))))"
    assert demo.inside("attacker", listing) == ["capture", "reconstructions", "work"]
    assert "segments.json" in demo.inside("edge", listing)
    answers = demo.inside("console", ASK)
    assert {host: answers[host] for host in ("edge.control", "link.control", "cloud.control")} == {
        host: [401, 401, 200] for host in ("edge.control", "link.control", "cloud.control")
    }
    assert answers["attacker.results"] == [401, 200, 401]


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_is_confined(demo: Demo, service: str) -> None:
    host = demo.inspect(service)["HostConfig"]
    assert host["ReadonlyRootfs"] is True
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0
    if service != "redis":  # its image holds no Python
        confined = demo.inside(service, CONFINED)
        assert confined.pop("uid") == 10001
        expected = {"effective": 0, "bounding": 0, "no_new_privileges": 1, "forwards": 0, "writable": []}
        assert confined == expected
    else:
        assert demo.compose("exec", "-T", "redis", "id", "-u").strip() == "999"


def test_ports_are_published_on_loopback_only(demo: Demo) -> None:
    published = {s: demo.inspect(s)["HostConfig"]["PortBindings"] for s in SERVICES}
    (bindings,) = [found for found in published.values() if found]
    assert published["console"] == bindings
    assert {entry["HostIp"] for entries in bindings.values() for entry in entries} == {"127.0.0.1"}


def test_another_split_point_opens_a_new_session_and_goes_on(demo: Demo) -> None:
    refused = demo.wish(split="conv9")
    assert refused.status_code == 422
    assert "there are: conv2.0, conv3.0, conv4.0, conv_out" in refused.json()["error"]
    assert demo.wish(split="conv2.0").status_code == 200
    moved = demo.until(lambda s: s["status"]["split"] == "conv2.0" and "concretizer" in s["scores"], "another split")
    assert moved["about"]["split"] == "conv2.0"
    assert moved["status"]["refused"] is None
    goes_on(demo, "after another split point")


@pytest.mark.parametrize("service", ["redis", "worker", "link", "cloud", "attacker", "console", "edge"])
def test_a_killed_service_comes_back_and_frames_go_on(demo: Demo, service: str) -> None:
    """SIGKILL from within, as the kernel would send it: `docker kill` would be a wish that it stay down."""
    goes_on(demo, f"before {service} is killed")
    started = demo.inspect(service)["State"]["StartedAt"]
    demo.compose("exec", "-T", service, "sh", "-c", "kill -9 -1")
    deadline = time.monotonic() + WAIT_S
    while (now := demo.inspect(service)["State"])["StartedAt"] == started or not now["Running"]:
        assert time.monotonic() < deadline, f"{service} was killed and did not come back: {now}"
        time.sleep(0.2)
    goes_on(demo, f"after {service} was killed")
