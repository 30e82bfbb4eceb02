"""Orders that say more than done: verify, tickets of nodes, settings of a client."""

from __future__ import annotations

import json
import shlex
import socket
import stat
from pathlib import Path

import msgspec
import pytest
import zmq

from commands import api
from commands.errors import Refused
from eventstore.wire.faults import RemoteError
from nodeagent.calls import Ticket, Voter
from projections.objects import ClusterInfo, InstancePolicy
from shell import config
from shell.cluster_init import info_of
from shell.failure import Failure, Status
from shell.grammar import load
from shell.parsing import parse
from tests.shell.stand_in import Master, run, succeeded

VOTER = Voter(name="node1", requests="tcp://192.0.2.1:1", publications="tcp://192.0.2.1:2",
              curve_key="k" * 40)  # fmt: skip


@pytest.mark.parametrize(
    ("findings", "status"),
    [([], 0), ([("warning", "ENODEOS", "node1", "no OS")], 0),
     ([("warning", "ENODEOS", "node1", "no OS"), ("error", "ENODELVM", "node2", "no group")], 1)],
)  # fmt: skip
def test_verify(findings: list[tuple[str, ...]], status: int) -> None:
    """Findings are printed one to a line; errors make the exit status 1, warnings do not."""
    ran = run("gnt-cluster verify", Master(news=[succeeded(1, findings)]))
    assert ran.status == status
    assert [line for line in ran.out.splitlines() if line.startswith("  - ")] == [
        f"  - {severity.upper()}: {what}: {message}" for severity, _, what, message in findings
    ]


def test_verify_for_programs() -> None:
    """With --error-codes a line has the code, and colons between."""
    news = succeeded(1, [("error", "ENODELVM", "node2", "no group")])
    ran = run("gnt-cluster verify --error-codes", Master(news=[news]))
    assert ran.out.splitlines()[0] == "ERROR:ENODELVM:node2:no group"


def test_verify_as_json() -> None:
    """An object for each finding; the exit status as ever."""
    news = succeeded(1, [("error", "ENODELVM", "node2", "no group")])
    ran = run("gnt-cluster verify --format json", Master(news=[news]))
    assert json.loads(ran.out) == [
        {"severity": "error", "code": "ENODELVM", "object": "node2", "message": "no group"}
    ]
    assert ran.status == 1
    ran = run("gnt-cluster verify --format json", Master(news=[succeeded(1, [])]))
    assert (json.loads(ran.out), ran.status) == ([], 0)


def settings(**more: object) -> config.ClientConfig:
    """Return settings of a client that knows a voter."""
    return config.ClientConfig(key_file="key", voters=(VOTER,), **more)  # type: ignore[arg-type]


def test_node_add_lays_a_ticket_down(tmp_path: Path) -> None:
    """The secret half of the one-time key is in the ticket alone, the public half in the opcode."""
    master = Master(news=[succeeded(1, {"uuid": "u", "missing": ["drbd 9: install drbd-dkms"]})])
    ran = run(
        "gnt-node add node4", master, settings=settings(ticket_dir="tickets"), directory=tmp_path
    )
    assert ran.status == 0
    assert "node4 lacks: drbd 9" in ran.err
    path = tmp_path / "tickets/node4/ticket.json"
    ticket = msgspec.json.decode(path.read_bytes(), type=Ticket)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (ticket.name, ticket.node, ticket.voters) == ("node4", "", (VOTER,))
    assert zmq.curve_public(ticket.secret_key.encode()).decode() == ticket.public_key
    op = master.submitted[0][1].jobs[0].ops[0]
    assert msgspec.msgpack.decode(op.data) == {
        "node_name": "node4", "ticket_key": ticket.public_key,
    }  # fmt: skip
    assert ticket.secret_key.encode() not in bytes(op.data)


def test_a_void_ticket_does_not_stay(tmp_path: Path) -> None:
    """If the node is refused, its ticket is taken away again."""
    refused = api.OpNews(summary="NODE_ADD", status="error", code="already_exists", message="there")
    news = api.JobNews(job=1, serial=1, status="error", ended=True, ops=(refused,))
    line = f"gnt-node add node2 --ticket-file {tmp_path}/a/ticket.json"
    assert run(line, Master(news=[news]), settings=settings(), directory=tmp_path).status == 1
    assert not (tmp_path / "a/ticket.json").exists()


def test_a_ticket_needs_a_place(tmp_path: Path) -> None:
    """Without a place for the ticket nothing is submitted, and the words say what to give."""
    master = Master()
    line = "gnt-node add --no-node-setup node4"
    ran = run(line, master, settings=settings(), directory=tmp_path)
    assert (ran.status, master.submitted) == (Status.NODE_SETUP, [])
    assert "--ticket-file" in ran.err


def test_a_ticket_may_be_printed(tmp_path: Path) -> None:
    """For who carries it to the node by other means: nothing is written anywhere."""
    master = Master(news=[succeeded(1, {"uuid": "u", "missing": []})])
    line = "gnt-node add node4 --ticket-file -"
    ran = run(line, master, settings=settings(), directory=tmp_path)
    ticket = msgspec.json.decode(ran.out, type=Ticket)
    assert (ran.status, ticket.name) == (0, "node4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("no-such-ssh",), "no-such-ssh cannot be started"),
        (("sh", "-c", "echo no route >&2; exit 255"), "cannot be reached over SSH: no route"),
        (("sh", "-c", "echo no unit >&2; exit 5"), "(exit status 5): no unit"),
    ],
)
def test_a_node_out_of_reach_is_not_invited(
    tmp_path: Path, command: tuple[str, ...], says: str
) -> None:
    """Why it could not be prepared is said, and nothing is submitted."""
    master = Master()
    ran = run(
        "gnt-node add node4", master, settings=settings(ssh=config.Ssh(command=command)),
        directory=tmp_path,
    )  # fmt: skip
    assert (ran.status, master.submitted) == (Status.NODE_SETUP, [])
    assert says in ran.err


@pytest.mark.parametrize("name", ["../../etc", "a b", "", "-oProxyCommand=x"])
def test_what_is_no_name_gets_no_ticket(tmp_path: Path, name: str) -> None:
    """It is refused before a path, or a line for SSH, is made of it."""
    master = Master()
    ran = run(
        ["gnt-node", "add", "--", name], master,
        settings=settings(ticket_dir="tickets"), directory=tmp_path,
    )  # fmt: skip
    assert (ran.status, master.submitted) == (1, [])
    assert "cannot be the name of a node" in ran.err
    assert list(tmp_path.iterdir()) == []


def test_what_reaches_a_node_over_ssh(tmp_path: Path) -> None:
    """The ticket on standard input alone, the rest as arguments that a shell there reads back; a
    void ticket is taken away again."""
    stand_in = tmp_path / "ssh"
    stand_in.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" >>{tmp_path}/argv\ncat >>{tmp_path}/stdin\n'
    )
    stand_in.chmod(0o755)
    refused = api.OpNews(summary="NODE_ADD", status="error", code="already_exists", message="there")
    news = api.JobNews(job=1, serial=1, status="error", ended=True, ops=(refused,))
    ssh = config.Ssh(command=(str(stand_in),), directory="/srv/a b", start=("rc", "start it"))
    ran = run(
        "gnt-node add --no-ssh-key-check node4", Master(news=[news]), settings=settings(ssh=ssh),
        directory=tmp_path,
    )  # fmt: skip
    assert ran.status == 1
    ticket = msgspec.json.decode((tmp_path / "stdin").read_bytes(), type=Ticket)
    said = (tmp_path / "argv").read_text()
    assert ticket.secret_key not in said
    first, second = (line for line in said.splitlines() if line.startswith("sh -c "))
    assert shlex.split(first)[3:] == ["cairn", "/srv/a b", "rc", "start it"]
    assert shlex.split(second)[2:] == ['rm -f "$1/ticket.json"', "cairn", "/srv/a b"]
    options = said.splitlines()[: said.splitlines().index("--")]
    assert options[-2:] == ["-l", "root"]
    assert {"BatchMode=yes", "StrictHostKeyChecking=no"} <= set(options)


def test_settings_of_a_new_cluster() -> None:
    """The options of init become the settings of the cluster, typed and checked."""
    tool = load("gnt-cluster")
    typed = ["c.example.net", "--enabled-hypervisors", "kvm,fake", "-B", "memory=1G,vcpus=2", "-m",
             "aa:00:11", "-H", "kvm:acpi=no", "--enabled-disk-templates", "plain"]  # fmt: skip
    info = info_of(parse(tool, "init", tool.commands["init"], typed))
    assert info.name == "c.example.net"
    assert info.enabled_hypervisors == ("kvm", "fake")
    assert info.enabled_disk_templates == ("plain",)
    assert info.beparams == {"maxmem": 1024, "minmem": 1024, "vcpus": 2}
    assert info.hvparams == {"kvm": {"acpi": False}}
    assert info.mac_prefix == "aa:00:11"


def test_init_takes_the_allocator() -> None:
    """hail is the built-in one, and has options of its own; another one may have any."""
    tool = load("gnt-cluster")

    def made(*typed: str) -> ClusterInfo:
        return info_of(parse(tool, "init", tool.commands["init"], [*typed, "c.example.net"]))

    assert made("-I", "hail").default_iallocator == ""
    info = made("-I", "mine", "--default-iallocator-params=fast=yes")
    assert (info.default_iallocator, info.default_iallocator_params) == ("mine", {"fast": "yes"})
    with pytest.raises(Refused, match="no option of hail"):
        made("--default-iallocator-params=fast=yes")


def test_init_takes_an_address_of_the_master(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is given, or that of the cluster's name; what can be none is refused."""
    tool = load("gnt-cluster")

    def made(*typed: str) -> ClusterInfo:
        return info_of(parse(tool, "init", tool.commands["init"], [*typed, "c.example.net"]))

    def resolve(name: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        if name not in names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (names[name], 0))]

    names: dict[str, str] = {}
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    info = made("--master-netdev=br0", "--master-ip=192.0.2.9", "--master-netmask=24")
    assert (info.master_ip, info.master_netdev, info.master_netmask) == ("192.0.2.9", "br0", 24)
    assert made().master_ip == ""
    with pytest.raises(Refused, match="33 bits"):
        made("--master-netdev=br0", "--master-ip=192.0.2.9", "--master-netmask=33")
    with pytest.raises(Failure, match="does not resolve"):
        made("--master-netdev=br0")
    names["c.example.net"] = "192.0.2.7"
    assert made("--master-netdev=br0").master_ip == "192.0.2.7"


def test_deactivate_master_ip_asks_first(tmp_path: Path) -> None:
    """Where nobody can be asked, --yes must be given; then it is one opcode."""
    master = Master(news=[succeeded(1, {"left_on": []})])
    ran = run("gnt-cluster deactivate-master-ip", master)
    assert (ran.status, master.submitted) == (Status.CONFIRMATION, [])
    assert "--yes" in ran.err
    assert run("gnt-cluster deactivate-master-ip --yes", master).status == 0
    (op,) = master.submitted[0][1].jobs[0].ops
    assert op.name == "OP_CLUSTER_DEACTIVATE_MASTER_IP"


def test_init_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    """An option of Ganeti's that is not honoured yet is refused before anything is made."""
    ran = run("gnt-cluster init c --install-image a", settings=settings(), directory=tmp_path)
    assert ran.status == 1
    assert "--install-image" in ran.err
    assert list(tmp_path.iterdir()) == []


def test_no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without settings the exit status is 5, and the words say how to make a cluster."""
    monkeypatch.setenv(config.VARIABLE, str(tmp_path / "none.json"))
    with pytest.raises(Failure) as failed:
        config.load()
    assert failed.value.status is Status.NOT_CLUSTER
    assert config.VARIABLE in failed.value.hint


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key_file": 5}', '{"key_file": "a", "x": 1}'])
def test_malformed_settings(text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings that make no sense are refused with the file's name, and status 5."""
    path = tmp_path / "client.json"
    path.write_text(text)
    monkeypatch.setenv(config.VARIABLE, str(path))
    with pytest.raises(Failure, match=r"client\.json") as failed:
        config.load()
    assert failed.value.status is Status.NOT_CLUSTER


def test_settings_survive_saving(tmp_path: Path) -> None:
    """What is saved is read again as it was."""
    found = config.Found(tmp_path / "client.json", settings(ticket_dir="t"))
    config.save(found, found.config)
    decoded = msgspec.json.decode((tmp_path / "client.json").read_bytes(), type=config.ClientConfig)
    assert decoded == found.config


def test_job_orders() -> None:
    """Orders to the queue name their jobs; a job that cannot be makes the exit status 1."""
    master = Master()
    assert run("gnt-job cancel 3 4", master).status == 0
    assert run("gnt-job resolve --undo 5", master).status == 0
    assert run("gnt-job change-priority --priority low 6", master).status == 0
    assert run("gnt-job autoarchive 2d", master).status == 0
    assert [(o.order, o.jobs, o.how, o.priority, o.older_than_s) for o in master.orders] == [
        ("cancel", (3, 4), "", 0, None),
        ("resolve", (5,), "undo", 0, None),
        ("set-priority", (6,), "", 10, None),
        ("archive", (), "", 0, 172800.0),
    ]
    assert run("gnt-job watch x", master).status == 2


def test_a_job_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The master's refusal is told with its hint."""
    master = Master(news=[RemoteError("unknown_entity", "there is no job 9", hint="last is 3")])
    ran = run("gnt-job wait 9", master)
    assert ran.status == 1
    assert ran.err.endswith("there is no job 9\nhint: last is 3\n")


def test_options_spell_an_instance_policy() -> None:
    """Of a cluster to be: bounds, standard size, templates, ratios; or Ganeti's older --specs."""
    tool = load("gnt-cluster")

    def made(*typed: str) -> InstancePolicy:
        return info_of(
            parse(tool, "init", tool.commands["init"], [*typed, "c.example.net"])
        ).ipolicy

    sizes = (
        "cpu-count={0},disk-count={0},disk-size={1},memory-size={1},nic-count={0},spindle-use={0}"
    )
    bounds = f"min:{sizes.format(1, 512)}/max:{sizes.format(8, '1g')}"
    standard = "--ipolicy-std-specs=disk-size=512,memory-size=512"
    found = made(f"--ipolicy-bounds-specs={bounds}", standard)
    assert (found.minmax[0].min["disk-size"], found.minmax[0].max["memory-size"]) == (512, 1024)
    assert found.std == {"disk-size": 512, "memory-size": 512}
    found = made("--ipolicy-disk-templates=drbd,plain", "--ipolicy-vcpu-ratio=2.5")
    assert (found.disk_templates, found.vcpu_ratio) == (("drbd", "plain"), 2.5)
    found = made("--specs-mem-size=min=256,std=512,max=4096")
    assert found.minmax[0].min["memory-size"] == 256
    assert (found.std["memory-size"], found.minmax[0].max["memory-size"]) == (512, 4096)
    with pytest.raises(Refused, match="say the same in two ways"):
        made("--specs-cpu-count=max=2", "--ipolicy-std-specs=cpu-count=1")


def test_a_changed_policy_is_one_field_of_the_order() -> None:
    """gnt-group modify and gnt-cluster modify send what was given, and nothing else of it."""
    master = Master()
    run("gnt-group modify --ipolicy-vcpu-ratio=2 --ipolicy-disk-templates=plain default", master)
    run("gnt-cluster modify --ipolicy-spindle-ratio=default", master)
    (group,), (cluster,) = (sent.jobs[0].ops for _, sent in master.submitted)
    assert msgspec.msgpack.decode(group.data)["ipolicy"] == {
        "disk-templates": ["plain"],
        "vcpu-ratio": 2.0,
    }
    assert msgspec.msgpack.decode(cluster.data)["ipolicy"] == {"spindle-ratio": "default"}
