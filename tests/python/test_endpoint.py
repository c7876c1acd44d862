"""The supervision endpoint: loopback only, and only for those who name it by its own name."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import ironcliw
import pytest


@pytest.fixture
def served() -> Iterator[ironcliw.Runtime]:
    with ironcliw.Runtime(endpoint="127.0.0.1:0") as rt:
        yield rt


def get(
    rt: ironcliw.Runtime, path: str, host: str | None = None, method: str = "GET"
) -> tuple[int, str, bytes]:
    """Status, content type and body."""
    assert rt.endpoint_url is not None
    address = urlsplit(rt.endpoint_url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
    try:
        connection.request(method, path, headers={"Host": host} if host else {})
        response = connection.getresponse()
        return response.status, response.headers.get("content-type", ""), response.read()
    finally:
        connection.close()


def test_there_is_none_unless_asked_for(rt: ironcliw.Runtime) -> None:
    assert rt.endpoint_url is None


def test_it_says_that_it_lives_and_is_ready(served: ironcliw.Runtime) -> None:
    assert (served.endpoint_url or "").startswith("http://127.0.0.1:")
    assert get(served, "/livez")[0] == 200
    assert get(served, "/readyz")[0] == 200


def test_metrics_are_prometheus_text(served: ironcliw.Runtime) -> None:
    served.ping().result(timeout=10)
    status, kind, body = get(served, "/metrics")
    assert status == 200 and ("text" in kind or "openmetrics" in kind)
    lines = body.decode().splitlines()
    samples = [line for line in lines if line and not line.startswith("#")]
    assert samples and all(line.startswith("ironcliw_") for line in samples)
    assert all(line.rsplit(" ", 1)[1].replace(".", "").replace("-", "").isalnum() for line in samples)


def test_every_metric_is_in_its_documentation(served: ironcliw.Runtime) -> None:
    families = re.findall(r"^# TYPE ironcliw_(\w+)", get(served, "/metrics")[2].decode(), re.MULTILINE)
    documented = (Path(__file__).parents[2] / "docs" / "endpoint.md").read_text()
    names = {name.removesuffix("_total") for name in re.findall(r"`(\w+)(?:\{\w+\})?`", documented)}
    assert families and [name for name in families if name.removesuffix("_total") not in names] == []


def test_the_snapshot_is_that_of_the_runtime(served: ironcliw.Runtime) -> None:
    status, kind, body = get(served, "/api/v1/snapshot")
    assert status == 200 and "json" in kind
    shown = {actor["path"] for actor in json.loads(body)["actors"]}
    assert {actor["path"] for actor in served.snapshot()["actors"]} == shown


@pytest.mark.parametrize("path", ["/metrics", "/livez", "/readyz", "/api/v1/snapshot", "/nothing"])
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:80", "[::2]"])
def test_a_foreign_host_is_refused_on_every_route(served: ironcliw.Runtime, path: str, host: str) -> None:
    status, _, body = get(served, path, host)
    assert 400 <= status < 500
    assert b"ironcliw_" not in body and b"images/0" not in body


def test_localhost_is_no_foreign_host(served: ironcliw.Runtime) -> None:
    port = urlsplit(served.endpoint_url or "").port
    assert get(served, "/livez", f"localhost:{port}")[0] == 200


def test_unknown_paths_and_methods_are_refused(served: ironcliw.Runtime) -> None:
    assert get(served, "/nothing")[0] == 404
    assert get(served, "/metrics", method="POST")[0] in (404, 405)


@pytest.mark.parametrize(
    "address", ["0.0.0.0:0", "192.0.2.1:9464", "nonsense", "127.0.0.1", "127.0.0.1:99999"]
)
def test_only_loopback_addresses_are_served(address: str) -> None:
    with pytest.raises(ironcliw.InvalidInput):
        ironcliw.Runtime(endpoint=address)


def test_an_address_in_use_is_an_error(served: ironcliw.Runtime) -> None:
    with pytest.raises((ironcliw.Error, OSError)):
        ironcliw.Runtime(endpoint=urlsplit(served.endpoint_url or "").netloc)


def test_it_ends_with_its_runtime() -> None:
    with ironcliw.Runtime(endpoint="127.0.0.1:0") as rt:
        assert get(rt, "/livez")[0] == 200
        url = rt.endpoint_url or ""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    with pytest.raises(OSError):
        connection.request("GET", "/livez")
        connection.getresponse()
    connection.close()
