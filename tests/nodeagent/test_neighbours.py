"""Frames that ask for and announce an address."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.network.neighbours import announcements, claimed_by, probe

MAC = bytes.fromhex("020000000001")
ADDRESSES = st.ip_addresses()


@pytest.mark.property
@given(address=ADDRESSES, mac=st.binary(min_size=6, max_size=6))
def test_an_announcement_claims_and_a_probe_does_not(
    address: IPv4Address | IPv6Address, mac: bytes
) -> None:
    """A neighbour reads the claimant's MAC in the one, and nothing in the other."""
    assert {claimed_by(frame, address) for frame in announcements(address, mac)} == {mac}
    if int(address):
        assert claimed_by(probe(address, mac), address) is None


@pytest.mark.property
@given(frame=st.binary(max_size=100), address=ADDRESSES)
def test_no_frame_breaks_the_reader(frame: bytes, address: IPv4Address | IPv6Address) -> None:
    """Short and foreign frames claim nothing, or name six bytes."""
    claimant = claimed_by(frame, address)
    assert claimant is None or len(claimant) == 6
