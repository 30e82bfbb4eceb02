"""Orders that cannot be carried out: each says why and what would do, and changes nothing."""

from __future__ import annotations

import pytest

from tests.acceptance.live_lab import LiveLab

pytestmark = pytest.mark.acceptance

ADD = "gnt-instance add -t plain -o debian -B memory=512 -s 1G"


@pytest.fixture(scope="module", autouse=True)
def _an_instance(lab: LiveLab) -> None:
    lab.ok(f"{ADD} -n node1 web1.example.net")


@pytest.mark.parametrize(
    ("line", "nearest"),
    [
        ("gnt-instance info wbe1.example.net", "web1.example.net"),
        ("gnt-instance list web2.example.net", "web1.example.net"),
        ("gnt-instance startup wbe1", "web1.example.net"),
        ("gnt-instance remove -f web", "web1.example.net"),
        ("gnt-instance remove web", "web1.example.net"),
        ("gnt-node info noed1", "node1"),
        ("gnt-node modify --drained=yes node4", "node1"),
        ("gnt-group info defualt", "default"),
        (f"{ADD} -n nod1 web2.example.net", "node1"),
        (f"{ADD} -g defualt web2.example.net", "default"),
        ("gnt-log why instance wbe1.example.net memory", "web1.example.net"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(
    lab: LiveLab, line: str, nearest: str
) -> None:
    """Whatever is not there, the hint names what may have been meant."""
    lab.refuses(line, "unknown_entity", hint=nearest)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("add -t plain -o debain -s 1G -n node2 web2.example.net", "node node2 has no OS 'debain'"),
        ("add -t plain -o debain -s 1G web2.example.net", "no node can install the OS 'debain'"),
        ("add -t plain -o debian+mini -s 1G -n node2 web2.example.net", "no variant 'mini'"),
        ("add --dry-run -t plain -o debain -s 1G web2.example.net", "no node can install"),
        ("modify -o debain web1.example.net", "node node1 has no OS 'debain'"),
    ],
)
def test_an_unknown_os_is_answered_with_the_nearest(lab: LiveLab, line: str, says: str) -> None:
    """Before anything is made."""
    lab.refuses(f"gnt-instance {line}", "wrong_input", says, hint="did you mean debian")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("cairn instnace", "instnace"),
        ("gnt-instance lst", "no command 'lst'"),
        ("gnt-instance list --no-such-option", "--no-such-option"),
        ("gnt-instance add -t plan -s 1G web2.example.net", "plan"),
        ("gnt-instance add", "name"),
    ],
)
def test_what_is_no_command_is_refused_as_usage(lab: LiveLab, line: str, says: str) -> None:
    """Words that are no command end with exit status 2 and the way to the help."""
    lab.refuses(line, says, hint="", status=2)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("-s 1Q", "'1Q' is not a size"),
        ("-s -5", "-5"),
        ("-s 0", "0"),
        ("-s 1G -B memory=1X", "'1X' is not a size"),
        ("-s 1G -B memory=0", "0"),
        ("-s 1G -B memory=nan", "nan"),
        ("-s 1G -B vcpus=two", "two"),
        ("-s 1e400", "1e400"),
    ],
)
def test_a_size_that_is_none_is_refused(lab: LiveLab, options: str, says: str) -> None:
    """A wrong size, unit or number is named, and the hint shows what is accepted."""
    ran = lab.refuses(
        f"gnt-instance add -t plain -o debian -n node1 {options} web2.example.net", says, hint=""
    )
    assert ran.hint


def test_an_unknown_parameter_is_answered_with_those_there_are(lab: LiveLab) -> None:
    """A backend parameter that does not exist: the hint lists the known ones."""
    lab.refuses(f"{ADD} -n node1 -B memroy=1G web2.example.net", "memroy", hint="memory")


def test_an_instance_that_exists_is_not_made_again(lab: LiveLab) -> None:
    """Adding it again is refused, with the command that would make room for it."""
    lab.refuses(
        f"{ADD} -n node2 web1.example.net", "already_exists",
        "there is an instance web1.example.net already",
        hint="gnt-instance remove web1.example.net",
    )  # fmt: skip


def test_too_little_memory_says_what_is_free_where(lab: LiveLab) -> None:
    """Neither on a named node nor on any: the answer says how much is free, node by node.

    Where nodes are to be chosen, the policy speaks first: no node could ever be right.
    """
    add = "gnt-instance add -t plain -o debian -s 1G -B memory=900G"
    lab.refuses(
        f"{add} -n node2 web2.example.net", "insufficient_resources", "node2", "memory",
        "921600 MiB wanted", hint="fit on node2",
    )  # fmt: skip
    lab.refuses(
        f"{add} web2.example.net", "wrong_input", "instance policy", "memory-size value 921600",
        hint="--ignore-ipolicy",
    )  # fmt: skip
    ran = lab.refuses(
        f"{add} --ignore-ipolicy web2.example.net", "insufficient_resources", hint="free now"
    )
    assert all(f"{node} " in ran.hint for node in ("node1", "node2", "node3"))


def test_too_little_disk_says_what_is_free_where(lab: LiveLab) -> None:
    """Disk space is refused in the same way as memory, on named nodes and on any."""
    add = "gnt-instance add -o debian -B memory=512 -s 900T"
    lab.refuses(
        f"{add} -t plain -n node2 web2.example.net", "insufficient_resources", "disk space",
        hint="fit on node2",
    )  # fmt: skip
    ran = lab.refuses(
        f"{add} -t drbd --ignore-ipolicy web2.example.net", "insufficient_resources",
        hint="free now",
    )  # fmt: skip
    assert all(f"{node} " in ran.hint for node in ("node1", "node2", "node3"))


def test_a_disk_does_not_shrink_and_grows_no_further_than_there_is_room(lab: LiveLab) -> None:
    """grow-disk refuses too much, a disk that is not there and a size that is none."""
    grow = "gnt-instance grow-disk web1.example.net"
    lab.refuses(f"{grow} --ignore-ipolicy 0 900T", "insufficient_resources", "node1", hint="node1")
    lab.refuses(f"{grow} 7 1G", "7", hint="0")
    assert lab.refuses(f"{grow} 0 -- -1G", "1G", hint="").hint


def test_a_template_that_cannot_be_is_refused(lab: LiveLab) -> None:
    """A mirror wants two different nodes, a plain disk one."""
    add = "gnt-instance add -o debian -B memory=512 -s 1G web2.example.net"
    assert lab.refuses(f"{add} -t drbd -n node1", "secondary", hint="").hint
    assert lab.refuses(f"{add} -t drbd -n node1:node1", "node1", hint="").hint
    assert lab.refuses(f"{add} -t plain -n node1:node2", "node", hint="").hint


def test_what_only_a_mirror_can_is_refused_for_a_plain_disk(lab: LiveLab) -> None:
    """failover, migrate and replace-disks name the template that would allow them."""
    for command in ("failover -f", "migrate -f", "replace-disks --auto"):
        ran = lab.refuses(f"gnt-instance {command} web1.example.net", "plain", hint="")
        assert ran.hint, str(ran)


def test_a_node_with_instances_is_not_removed(lab: LiveLab) -> None:
    """The refusal names them."""
    lab.refuses("gnt-node remove node1", hint="")
    ran = lab.run("gnt-node remove node1")
    assert "web1.example.net" in ran.err + ran.hint or "master" in ran.err


def test_the_last_group_and_a_group_with_nodes_stay(lab: LiveLab) -> None:
    """gnt-group remove says why not."""
    assert lab.refuses("gnt-group remove default", "default", hint="").hint
