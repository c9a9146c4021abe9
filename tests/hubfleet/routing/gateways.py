"""Gateways as their documentation defines them: objects and a request in, the target that serves it out.

Written from the specifications alone, and not from how the objects are made. Each takes the objects in the
order of their age, in which an API server would have seen them created.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Object = dict[str, Any]
Serve = Callable[[Sequence[Object], str, str], "str | None"]


def of_kind(objects: Sequence[Object], kind: str) -> list[Object]:
    return [obj for obj in objects if obj["kind"] == kind]


def under(prefix: str, path: str) -> bool:
    """Whether a prefix matches by segments."""
    prefix = prefix.rstrip("/")
    return path == prefix or path.startswith(f"{prefix}/")


def matching_host(patterns: Sequence[str], host: str) -> str | None:
    """The most specific of the patterns that match; "" where there are none at all."""
    if not patterns:
        return ""
    found = [p for p in patterns if p == host or (p.startswith("*.") and host.endswith(p[1:])) or p == "*"]
    return max(found, key=lambda p: (not p.startswith("*"), len(p)), default=None)


def most_specific(hosts: Sequence[str]) -> str:
    return max(hosts, key=lambda p: (bool(p), not p.startswith("*"), len(p)))


def gateway_api(objects: Sequence[Object], host: str, path: str) -> str | None:
    """HTTPRoutes: the most specific host that any route has, then the longest prefix, then the oldest."""
    candidates: list[tuple[str, str, int, str]] = []
    for age, route in enumerate(of_kind(objects, "HTTPRoute")):
        name = matching_host(route["spec"].get("hostnames", ()), host)
        if name is None:
            continue
        for rule in route["spec"]["rules"]:
            (backend,) = rule["backendRefs"]
            for match in rule["matches"]:
                assert match["path"]["type"] == "PathPrefix"
                candidates.append(
                    (name, match["path"]["value"], age, service_target(objects, route, backend))
                )
    if not candidates:
        return None
    best = most_specific([name for name, *_ in candidates])  # no way back to the routes of a wider host
    found = [c for c in candidates if c[0] == best and under(c[1], path)]
    return min(found, key=lambda c: (-len(c[1].rstrip("/")), c[2]))[3] if found else None


def ingress(objects: Sequence[Object], host: str, path: str) -> str | None:
    """Ingresses: the rules of the host if there are any, else those without; the longest path."""
    rules: list[tuple[str, str, Object, Object]] = []
    for obj in of_kind(objects, "Ingress"):
        for rule in obj["spec"]["rules"]:
            for entry in rule["http"]["paths"]:
                assert entry["pathType"] == "Prefix"
                rules.append((rule.get("host", ""), entry["path"], obj, entry["backend"]["service"]))
    named = [rule for rule in rules if rule[0] == host] or [rule for rule in rules if not rule[0]]
    found = [rule for rule in named if under(rule[1], path)]
    if not found:
        return None
    _, _, obj, service = max(found, key=lambda rule: len(rule[1].rstrip("/")))
    return service_target(objects, obj, {"name": service["name"], "port": service["port"]["number"]})


def service_target(objects: Sequence[Object], referrer: Object, backend: Mapping[str, Any]) -> str:
    """What a reference to a Service leads to: host and port, or "broken" where it is not allowed."""
    own = referrer["metadata"]["namespace"]
    namespace, name, port = backend.get("namespace", own), backend["name"], backend["port"]
    if namespace != own and referrer["kind"] == "HTTPRoute":
        grants = [
            g
            for g in of_kind(objects, "ReferenceGrant")
            if g["metadata"]["namespace"] == namespace
            and any(f["kind"] == "HTTPRoute" and f["namespace"] == own for f in g["spec"]["from"])
            and any(t["kind"] == "Service" and t.get("name", name) == name for t in g["spec"]["to"])
        ]
        if not grants:
            return "broken: not granted"
    here = [o for o in objects if o["metadata"]["namespace"] == namespace]
    services = [s for s in of_kind(here, "Service") if s["metadata"]["name"] == name]
    if not services:
        return f"{name}.{namespace}:{port}"  # somebody else's
    spec = services[0]["spec"]
    assert port in [p["port"] for p in spec["ports"]]
    if spec.get("type") == "ExternalName":
        return f"{spec['externalName']}:{port}"
    slices = [
        s
        for s in of_kind(here, "EndpointSlice")
        if s["metadata"]["labels"].get("kubernetes.io/service-name") == name
    ]
    addresses = [address for s in slices for e in s["endpoints"] for address in e["addresses"]]
    if len(addresses) != 1:
        return f"broken: {len(addresses)} endpoints"
    return f"[{addresses[0]}]:{port}" if ":" in addresses[0] else f"{addresses[0]}:{port}"


def istio(objects: Sequence[Object], host: str, path: str) -> str | None:
    """VirtualServices that are bound to the gateway, in the order given; in each, the first that matches.

    The rules of a delegate stand where the delegating rule stood.
    """
    services = of_kind(objects, "VirtualService")
    by_name = {s["metadata"]["name"]: s for s in services}
    bound = [s for s in services if s["spec"].get("gateways")]
    hosts = [h for s in bound for h in s["spec"]["hosts"]]
    name = matching_host(hosts, host) if hosts else None
    if name is None:
        return None
    for service in bound:
        if name not in service["spec"]["hosts"]:
            continue
        for rule in service["spec"]["http"]:
            for flat in flattened(rule, by_name):
                if any(matches(m["uri"], path) for m in flat["match"]):
                    return istio_target(objects, flat["route"][0]["destination"])
    return None


def flattened(rule: Object, by_name: Mapping[str, Object]) -> list[Object]:
    if "delegate" not in rule:
        return [rule]
    delegate = by_name.get(rule["delegate"]["name"])
    if delegate is None:
        return []
    assert "hosts" not in delegate["spec"] and "gateways" not in delegate["spec"]
    rules = delegate["spec"]["http"]
    for each in rules:
        assert "delegate" not in each, "delegation has one level"
        for match in each["match"]:  # must be a subset of the delegating rule's
            (outer,) = rule["match"]
            (value,) = match["uri"].values()
            assert value.startswith(outer["uri"]["prefix"])
    return list(rules)


def matches(uri: Mapping[str, str], path: str) -> bool:
    return path == uri["exact"] if "exact" in uri else path.startswith(uri["prefix"])


def istio_target(objects: Sequence[Object], destination: Mapping[str, Any]) -> str:
    host, port = destination["host"], destination["port"]["number"]
    if found := re.fullmatch(r"([^.]+)\.([^.]+)\.svc\.cluster\.local", host):
        return f"{found[1]}.{found[2]}:{port}"
    entries = [e for e in of_kind(objects, "ServiceEntry") if host in e["spec"]["hosts"]]
    if len(entries) != 1:
        return f"broken: {len(entries)} entries"
    (entry,) = entries
    assert port in [p["number"] for p in entry["spec"]["ports"]]
    address = entry["spec"]["endpoints"][0]["address"]
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def traefik(objects: Sequence[Object], host: str, path: str) -> str | None:
    """IngressRoutes: of the rules that match, the one of the highest priority."""
    found = []
    for age, obj in enumerate(of_kind(objects, "IngressRoute")):
        for rule in obj["spec"]["routes"]:
            if evaluated(rule["match"], host, path):
                (service,) = rule["services"]
                found.append((rule["priority"], -age, service_target(objects, obj, service)))
    return max(found)[2] if found else None


_CALL = re.compile(r"""(Host|PathPrefix|Path)\((?:`([^`]*)`|"((?:[^"\\]|\\.)*)")\)""")


def evaluated(rule: str, host: str, path: str) -> bool:
    """A rule of Traefik's, by way of Python's own boolean operators."""
    values: list[bool] = []

    def value(call: re.Match[str]) -> str:
        text = call[2] if call[2] is not None else re.sub(r"\\(.)", r"\1", call[3])
        match call[1]:
            case "Host":
                values.append(host == text)
            case "Path":
                values.append(path == text)
            case _:
                values.append(path.startswith(text))
        return f" v[{len(values) - 1}] "

    expression = _CALL.sub(value, rule).replace("&&", " and ").replace("||", " or ")
    assert re.fullmatch(r"[\sv\[\]\d()andor]*", expression), expression
    return bool(eval(expression, {"v": values, "__builtins__": {}}))
