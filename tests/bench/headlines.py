"""The figures that have bars, under fixed names, for programs: FOLDER/natf.json, and beside the details in FOLDER/dns.json.

us = microseconds, _s = per second, ratios without unit; medians. What was not measured is missing.
"""
import json


def write(folder):
    """Writes them anew from the parts' files."""
    parts = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json") if path.stem in ("startup", "mapping", "throughput", "dns")}
    found = {name: part["figures"] for name, part in parts.items()}
    if natf := {name: value for part, values in NATF.items() if part in found for name, value in values(found[part]).items()}:
        (folder / "natf.json").write_text(json.dumps(natf, indent=1) + "\n")
    if "dns" in found:
        (folder / "dns.json").write_text(json.dumps(of_dns(found["dns"]) | {key: parts["dns"][key] for key in ("measured", "figures")}, indent=1) + "\n")


def of_startup(found):
    """Daemons and programs on one CPU."""
    one = found["one_cpu"]
    return {"router_us": mid(one["router_processing"]), "overhead_us": mid(one["overhead"]), "retransmitted_segments": found["retransmitted_segments"]}


def of_mapping(found):
    """Requests per core, and what live mappings do to the latency of one."""
    levels = {row["mappings"]: row for row in found["natf"]["levels"]}
    return {
        "requests_per_s": mid(found["natf"]["rate_from_empty"]),
        "latency_ratio_20k": mid(levels[20_000]["latency_us"]) / mid(levels[0]["latency_us"]),
        "rss_kib": mid(levels[0]["rss_kib"]),
        "rss_kib_20k": mid(levels[20_000]["rss_kib"]),
    }


def of_throughput(found):
    """NAT-f beside static DNAT; the cell in which it is worst."""
    return {"throughput_ratio_min": min(mid(row["ratio_to_dnat"]) for row in found["rows"] if row["way"] == "natf")}


def of_dns(found):
    """tsn-dnsd, and dnsmasq in the same run."""
    ours, dnsmasq, announcing = found["servers"]["tsn-dnsd"], found["servers"]["dnsmasq"], found["announcing"]
    return {
        "udp_q_per_cpu_s": mid(ours["udp_per_cpu_s"]),
        "dnsmasq_q_per_cpu_s": mid(dnsmasq["udp_per_cpu_s"]),
        "tcp_q_per_cpu_s": mid(ours["tcp_per_cpu_s"]),
        "p50_us": mid(ours["p50_us"]),
        "p99_us": mid(ours["p99_us"]),
        "rss_mib": ours["rss_mib"],
        "announce_extra_us": mid(announcing["extra_us"]),
        "notifications_per_s": mid(announcing["notifications_per_s"]),
    }


def mid(figure):
    """The median."""
    return figure["median"]


NATF = {"startup": of_startup, "mapping": of_mapping, "throughput": of_throughput}
