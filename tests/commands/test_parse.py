"""What people write, and what it means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands import parse
from commands.errors import Refused
from projections.objects import Value
from projections.params import tables

BACKEND = tables().beparams
KVM = tables().hvparams["kvm"]


@pytest.mark.parametrize(
    ("text", "mib"),
    [
        (512, 512), (10241, 10241), ("512", 512), ("510", 512), ("1g", 1024), ("1.5G", 1536),
        ("2T", 2097152), ("10 GiB", 10240), ("7m", 8), ("0.1g", 104),
    ],
)  # fmt: skip
def test_a_size_is_mib_unless_it_says_otherwise(text: Value, mib: int) -> None:
    """Text is rounded up to whole extents of 4 MiB, a number is taken as it is."""
    assert parse.size_mib(text, "disk 0") == mib


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1x",
        "-5",
        0,
        -1,
        "0",
        "g",
        "1e3",
        True,
        None,
        1.5j,
        "1,5g",
        1 << 60,
        "9" * 400,
        "9999999999t",
    ],
)
def test_what_is_no_size_is_refused(text: Value) -> None:
    """With what would be one."""
    with pytest.raises(Refused, match="is not a size") as refusal:
        parse.size_mib(text, "disk 0")
    assert "10g" in refusal.value.hint


@pytest.mark.property
@given(st.integers(1, 1 << 40))
def test_rounding_never_takes_away(mib: int) -> None:
    """At least what was asked for, and less than an extent more."""
    assert 0 <= parse.size_mib(str(mib), "x") - mib < 4


@pytest.mark.parametrize(
    ("value", "message"),
    [("two", "is no whole number"), ("1.5", "is no whole number"), ("9" * 5000, "is too large")],
)
def test_what_is_no_whole_number_is_refused(value: str, message: str) -> None:
    """A number that no record could hold is one of them, however long it is."""
    with pytest.raises(Refused, match=message) as refusal:
        parse.modified({}, {"vcpus": value}, BACKEND, "i")
    assert refusal.value.hint


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "much"])
def test_what_is_no_number_is_refused(value: str) -> None:
    """Nothing that cannot be compared gets into the configuration."""
    with pytest.raises(Refused, match="is not a number"):
        parse.modified({}, {"cpu_speed": value}, tables().ndparams, "node n")


def test_a_name_that_is_nearly_right_is_offered() -> None:
    """And all there are stand beside it."""
    with pytest.raises(Refused) as refusal:
        parse.modified({}, {"memry": 1}, BACKEND, "i")
    assert refusal.value.hint.startswith("did you mean memory? There are always_failover, ")


def test_memory_stands_for_both_limits() -> None:
    """One that is given itself wins."""
    assert parse.modified({}, {"memory": "1G"}, BACKEND, "i") == {"minmem": 1024, "maxmem": 1024}
    both = parse.modified({}, {"memory": 512, "minmem": 256}, BACKEND, "i")
    assert both == {"minmem": 256, "maxmem": 512}


def test_a_setting_is_taken_back_by_default() -> None:
    """Then the inherited value is in force again; others stay."""
    own: dict[str, Value] = {"vcpus": 4, "maxmem": 512}
    assert parse.modified(own, {"vcpus": "default"}, BACKEND, "i") == {"maxmem": 512}
    assert parse.modified(own, {"vcpus": None}, BACKEND, "i") == {"maxmem": 512}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("acpi", "no", False), ("acpi", True, True), ("cpu_cores", "4", 4),
        ("root_path", None, None), ("root_path", "none", None), ("kernel_args", "", ""),
        ("cdrom_image_path", "https://example.net/a.iso", "https://example.net/a.iso"),
        ("cpu_mask", "0-3:1,2", "0-3:1,2"), ("boot_order", "cdrom", "cdrom"),
    ],
)  # fmt: skip
def test_values_have_the_type_of_their_parameter(name: str, text: Value, value: Value) -> None:
    """Whatever way they were written."""
    assert parse.modified({}, {name: text}, KVM, "kvm") == {name: value}


@pytest.mark.parametrize(
    ("name", "text", "hint"),
    [
        ("acpi", "perhaps", "true or false"), ("cpu_cores", "many", "digits"),
        ("cpu_cores", -1, "at least 0"), ("migration_port", 5, "whole cluster"),
        ("virtio_net_queues", 9, "at most 8"), ("boot_order", "moon", "cdrom"),
        ("boot_order", "", "cdrom"), ("kvm_path", "", "resets"), ("kvm_path", "kvm", "absolute"),
        ("kvm_path", "/a/../b", "absolute"), ("cpu_mask", "x", "match"), ("acpy", "1", "acpi"),
        ("memory", "1G", "-B memory"),
    ],
)  # fmt: skip
def test_what_a_parameter_cannot_be_is_refused(name: str, text: Value, hint: str) -> None:
    """The hint says what it can."""
    with pytest.raises(Refused) as refusal:
        parse.modified({}, {name: text}, KVM, "hypervisor kvm")
    assert hint in refusal.value.hint + refusal.value.message


def test_what_only_the_cluster_has_is_accepted_there() -> None:
    """By the same table."""
    changed = parse.modified({}, {"migration_port": "8103"}, KVM, parse.CLUSTER)
    assert changed == {"migration_port": 8103}


@pytest.mark.parametrize("name", ["a", "web1.example.net", "WEB1", "a-b.c_d"])
def test_host_names_are_in_lower_case(name: str) -> None:
    """As Ganeti keeps them."""
    assert parse.host_name(name, "x") == name.lower()


@pytest.mark.parametrize("name", ["", ".", "a..b", "-a", "a-", "a b", "ä", "x" * 64, "a." * 130])
def test_what_is_no_host_name_is_refused(name: str) -> None:
    """RFC 1123, with underscores."""
    with pytest.raises(Refused):
        parse.host_name(name, "x")


def test_a_misspelt_memory_is_answered_with_memory() -> None:
    """Though it is no parameter itself, but stands for two."""
    with pytest.raises(Refused) as refusal:
        parse.modified({}, {"memroy": "1g"}, BACKEND, "the instance")
    assert "memory" in refusal.value.hint
