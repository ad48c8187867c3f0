"""Choosing among servers, with a clock that stands still."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.backends.endpoints import (
    EXCLUDED_S,
    FIRST_REST_S,
    LONGEST_REST_S,
    PROBE_SHARE,
    TRIP_AFTER,
    Endpoint,
    Endpoints,
)
from serving.backends.triton_settings import Address
from serving.backends.troubles import Trouble, never_arrived, trouble

CONNECTING = "failed to connect to all addresses; last error: "


class Clock:
    """Seconds that pass only when told."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def servers(count, ready=lambda endpoint: True):
    """Endpoints without clients, on a clock of their own."""
    ends = [Endpoint(Address.parse(f"grpc://127.0.0.1:{n + 1}"), None) for n in range(count)]
    clock = Clock()
    return Endpoints(ends, ready, clock), ends, clock


def test_the_least_busy_is_taken():
    chosen, ends, _ = servers(3)
    ends[0].in_flight, ends[1].in_flight, ends[2].in_flight = 2, 1, 3
    assert chosen.take() is ends[1]
    assert ends[1].in_flight == 2


@given(st.integers(1, 6), st.integers(1, 40))
def test_work_is_spread_evenly(count, requests):
    chosen, ends, _ = servers(count)
    for _ in range(requests):
        assert chosen.take() is not None
    busy = [one.in_flight for one in ends]
    assert max(busy) - min(busy) <= 1


def test_equally_busy_servers_are_taken_by_chance():
    first = set()
    for _ in range(200):
        chosen, ends, _ = servers(3)
        first.add(ends.index(chosen.take()))
    assert first == {0, 1, 2}


def test_who_has_just_failed_is_asked_again_only_if_there_is_no_other():
    chosen, ends, _ = servers(2)
    ends[1].in_flight = 50
    assert chosen.take(ends[0]) is ends[1]
    chosen.rest(ends[1])
    assert chosen.take(ends[0]) is ends[0]


@given(st.integers(0, 20))
def test_a_rest_stays_within_its_bounds(failures):
    chosen, (one,), clock = servers(1)
    one.failures = failures
    chosen.rest(one)
    rest = one.rests_until - clock()
    wanted = min(FIRST_REST_S * 2**failures, LONGEST_REST_S)
    assert wanted / 2 <= rest <= wanted
    assert chosen.take() is None
    assert chosen.wakes_in() == pytest.approx(rest)


def test_one_that_rested_must_prove_that_it_is_ready():
    answers = [False, True]
    chosen, (one,), clock = servers(1, lambda endpoint: answers.pop(0))
    chosen.failed(one, gone=True)
    assert chosen.take() is None
    assert answers == [False, True]
    clock.now += 1
    assert chosen.take() is None
    clock.now += 1
    assert chosen.take() is one
    assert not one.doubted


def test_failures_in_a_row_trip_and_an_answer_forgives():
    chosen, (one,), _ = servers(1)
    one.in_flight = 10
    for _ in range(TRIP_AFTER - 1):
        chosen.failed(one, gone=False)
    chosen.answered(one)
    for _ in range(TRIP_AFTER - 1):
        chosen.failed(one, gone=False)
    assert not one.doubted
    chosen.failed(one, gone=False)
    assert one.doubted
    assert one.in_flight == 10 - 2 * TRIP_AFTER


def test_one_that_is_gone_rests_at_once():
    chosen, ends, _ = servers(2)
    ends[0].in_flight = 1
    chosen.failed(ends[0], gone=True)
    assert {chosen.take() for _ in range(5)} == {ends[1]}


def test_one_that_hangs_is_probed_a_small_share_of_the_time():
    probes = []

    def hangs(endpoint):
        probes.append(clock.now)
        clock.now += 1.0
        return False

    chosen, ends, clock = servers(2, hangs)
    chosen.rest(ends[0])
    began = clock.now
    while clock.now < began + 100:
        clock.now += 0.1
        taken = chosen.take()
        assert taken is ends[1]
        chosen.answered(taken)
    assert 1 < len(probes) <= 100 * PROBE_SHARE * 2 + 1


def test_the_only_server_is_probed_often():
    chosen, (one,), clock = servers(1, lambda endpoint: False)
    chosen.rest(one)
    for _ in range(10):
        clock.now += LONGEST_REST_S
        assert chosen.take() is None
        assert chosen.wakes_in() <= LONGEST_REST_S


def test_an_excluded_server_is_left_alone_for_long():
    chosen, ends, clock = servers(2)
    assert chosen.exclude(ends[0], "canary")
    assert chosen.usable() == [ends[1]]
    clock.now += EXCLUDED_S - 1
    assert {chosen.take() for _ in range(5)} == {ends[1]}
    clock.now += 2
    assert chosen.usable() == ends
    assert chosen.take() is ends[0]
    assert not ends[0].excluded


def test_the_last_one_excluded_leaves_nobody():
    chosen, ends, _ = servers(2)
    assert chosen.exclude(ends[0], "canary")
    assert not chosen.exclude(ends[1], "canary")
    assert chosen.take() is None


def test_who_answers_is_in_question_until_its_canary():
    chosen, (one,), _ = servers(1)
    assert not one.in_question
    chosen.answered(chosen.take())
    assert one.in_question
    chosen.exclude(one, "canary")
    assert not one.in_question


def test_troubles_last_only_if_those_of_all_do():
    chosen, ends, _ = servers(2)
    assert chosen.troubles() is None
    ends[0].trouble = Trouble("one", "fix one", lasting=True)
    assert not chosen.troubles().lasting
    ends[1].trouble = Trouble("two", "fix two")
    assert not chosen.troubles().lasting
    ends[1].trouble = Trouble("two", "fix two", lasting=True)
    assert chosen.troubles() == Trouble("one; two", "fix one. fix two", lasting=True)


@pytest.mark.parametrize(
    ("status", "text", "lasting", "fix"),
    [
        ("UNAUTHENTICATED", "", True, "STREETBLUR_TRITON_TOKEN"),
        ("PERMISSION_DENIED", "no", True, "STREETBLUR_TRITON_TOKEN"),
        ("UNIMPLEMENTED", "", True, "8001"),
        ("UNAVAILABLE", f"{CONNECTING}CERTIFICATE_VERIFY_FAILED: x", True, "ca_file"),
        ("UNAVAILABLE", f"{CONNECTING}WRONG_VERSION_NUMBER: x", True, "grpc://"),
        ("UNAVAILABLE", f"{CONNECTING}TLSV1_ALERT_UNKNOWN_CA", True, "certificates"),
        ("UNAVAILABLE", f"{CONNECTING}Failed to create security handshaker.", True, "PEM"),
        ("UNAVAILABLE", f"{CONNECTING}Connection refused", False, "Start it"),
        ("UNAVAILABLE", f"{CONNECTING}Socket closed", False, "grpcs://"),
        ("UNAVAILABLE", "Socket closed", False, "Start it"),
        ("UNAVAILABLE", "Exceeds maximum queue size", False, "too much to do"),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", False, "timeout_s"),
        ("INTERNAL", "CERTIFICATE_VERIFY_FAILED in a model", False, "Start it"),
    ],
)
def test_what_grpc_says_is_told_with_what_helps(status, text, lasting, fix):
    found = trouble(status, text)
    assert (found.lasting, fix in found.fix) == (lasting, True)
    assert found.text


def test_a_request_that_found_no_connection_never_arrived():
    assert never_arrived(f"{CONNECTING}Connection refused")
    assert never_arrived("errors resolving triton:8001: [...]")
    assert not never_arrived("Socket closed")
