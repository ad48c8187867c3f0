"""What becomes of each request, with servers that do as they are told at a clock of our own."""

from contextlib import closing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.utils import InferenceServerException

from serving.backends import window as module
from serving.backends.endpoints import Endpoint, Endpoints
from serving.backends.protocol import Request
from serving.backends.triton_settings import Address
from serving.backends.window import (
    FIRST_PAUSE_S,
    LONE_TRIES,
    LONGEST_PAUSE_S,
    MODEL_WAIT_S,
    MOST_DEATHS,
    MOST_LOST_REGIONS,
    MOST_REFUSALS,
    MOST_TIMEOUTS,
    Window,
)
from serving.errors import (
    EndsServer,
    InferenceError,
    ModelMissing,
    RejectedInput,
    ServerUnavailable,
)
from tests.serving.test_endpoints import Clock

FACE = "face_detector"
TIMEOUT_S, OUTAGE_S = 30.0, 120.0
LOST = ("NOT_FOUND", "Unable to find shared memory region: 'x'")
FULL = ("UNAVAILABLE", "Exceeds maximum queue size")
GONE = ("UNAVAILABLE", "Socket closed")
REFUSED = ("UNAVAILABLE", "failed to connect to all addresses; Connection refused")
LACKS = ("NOT_FOUND", "Request for unknown model: 'face_detector' version 1 is not found")
SLOW = ("DEADLINE_EXCEEDED", "Deadline Exceeded")
BROKEN = ("INTERNAL", "ONNX Runtime: indices not found, not ready, shared memory region")
ENDED = ("INTERNAL", "Stub process 'face_detector_0_0' is not healthy.")
REFUSES = ("INVALID_ARGUMENT", "input not found")


class Call:
    """One try that is under way."""

    def cancel(self):
        pass


class Servers:
    """A transport and its servers: ``reply(number, rows, tries, url)`` gives an error or None.

    Answers come at once and wait to be taken; until then their request counts as under way. The
    clock goes on by ``took`` seconds with each, and whenever the window sleeps.
    """

    def __init__(self, monkeypatch, reply=lambda *_: None, count=1, took=0.0, ready=True):
        self.clock = Clock()
        self.reply, self.took = reply, took
        self.calls, self.tries, self.pauses = [], {}, []
        self.released = self.most = 0
        ends = [Endpoint(Address.parse(f"grpc://127.0.0.1:{n + 1}"), None) for n in range(count)]
        self.endpoints = Endpoints(ends, lambda endpoint: ready, self.clock)
        monkeypatch.setattr(module.time, "sleep", self._sleep)

    def _sleep(self, seconds):
        self.pauses.append(seconds)
        self.clock.now += seconds + 1e-6

    def _release(self):
        self.released += 1
        self.clock.now += self.took

    def send(self, endpoint, request, timeout_s, callback):
        pixels = request.inputs["image"]
        number = int(pixels[0, 0, 0, 0])
        key = (number, len(pixels))
        self.tries[key] = self.tries.get(key, 0) + 1
        error = self.reply(number, len(pixels), self.tries[key], endpoint.address.url)
        if error is not None:
            status, text = error
            error = InferenceServerException(text, status=f"StatusCode.{status}")
        under_way = len(self.calls) + 1 - self.released
        self.calls.append((number, len(pixels), under_way, endpoint.address.url))
        self.most = max(self.most, under_way)
        callback(pixels, error)
        return Call(), self._release

    def read(self, request, result):
        return {"peak": result[:, 0, 0, 0].copy()}

    def window(self, requests, in_flight=4):
        """Asks ``requests``."""
        return Window(self, self.endpoints, requests, in_flight, TIMEOUT_S, OUTAGE_S).answers()


def asked(number, rows=1):
    pixels = np.full((rows, 32, 32, 3), number, np.uint8)
    pixels[:, 0, 0, 0] = number + np.arange(rows)
    return Request(FACE, {"image": pixels}, 1)


def numbers(answers):
    return [int(answer["peak"][0]) for answer in answers]


@pytest.fixture
def make(monkeypatch):
    return lambda *args, **more: Servers(monkeypatch, *args, **more)


def test_answers_come_in_order_and_few_are_under_way(make):
    servers = make()
    assert numbers(servers.window(asked(n) for n in range(20))) == list(range(20))
    assert servers.most == 4
    assert servers.released == len(servers.calls) == 20


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=12),
    st.sampled_from([LOST, FULL, REFUSED, SLOW, BROKEN]),
    st.integers(1, 3),
    st.integers(1, 5),
)
def test_what_fails_for_a_while_is_answered_in_the_end(failures, error, count, in_flight):
    with pytest.MonkeyPatch.context() as monkeypatch:
        bounded = {SLOW: MOST_TIMEOUTS - 1, BROKEN: LONE_TRIES}.get(error, 3)

        def reply(number, rows, tries, url):
            return error if tries <= min(failures[number], bounded) else None

        servers = Servers(monkeypatch, reply, count)
        taken = []

        def requests():
            for number in range(len(failures)):
                taken.append(number)
                yield asked(number)

        given_out = []
        for answer in servers.window(requests(), in_flight):
            given_out += numbers([answer])
            assert len(taken) <= len(given_out) + in_flight
        assert given_out == list(range(len(failures)))
        assert servers.released == len(servers.calls)
        assert sum(one.in_flight for one in servers.endpoints) == 0


def test_pauses_grow_and_are_spread(make):
    servers = make(lambda number, rows, tries, url: FULL if tries < 9 else None)
    list(servers.window([asked(1)]))
    for tries, pause in enumerate(servers.pauses, 1):
        wanted = min(FIRST_PAUSE_S * 2**tries, LONGEST_PAUSE_S)
        assert wanted / 2 - 0.001 <= pause <= wanted + 0.001
    assert len(servers.pauses) == 8


def test_an_outage_ends_in_time_with_its_reason(make):
    servers = make(lambda *_: REFUSED)
    began = servers.clock()
    with pytest.raises(ServerUnavailable, match="Connection refused") as caught:
        list(servers.window([asked(1)]))
    assert OUTAGE_S <= servers.clock() - began <= OUTAGE_S + 2 * LONGEST_PAUSE_S
    assert "grpc://127.0.0.1:1" in caught.value.where


def test_a_server_that_is_not_ready_is_not_sent_anything(make):
    servers = make(lambda *_: GONE, ready=False)
    with pytest.raises(ServerUnavailable, match="Socket closed"):
        list(servers.window([asked(1)]))
    assert len(servers.calls) == 1


def test_a_full_server_is_an_outage_only_after_long(make):
    servers = make(lambda *_: FULL)
    with pytest.raises(ServerUnavailable, match="maximum queue size") as caught:
        list(servers.window([asked(1)]))
    assert "too much to do" in caught.value.fix
    assert not servers.endpoints.usable()[0].doubted


@pytest.mark.parametrize("status", ["UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED"])
def test_a_lasting_refusal_ends_at_once(make, status):
    servers = make(lambda *_: (status, "no"))
    began = servers.clock()
    with pytest.raises(ServerUnavailable, match=status):
        list(servers.window(asked(n) for n in range(9)))
    assert servers.clock() - began < 1


def test_a_lasting_refusal_of_one_server_is_left_to_the_other(make):
    bad = "grpc://127.0.0.1:1"
    servers = make(lambda n, r, t, url: ("UNAUTHENTICATED", "no") if url == bad else None, 2)
    assert numbers(servers.window(asked(n) for n in range(9))) == list(range(9))


def test_a_missing_model_is_waited_for_and_then_named(make):
    servers = make(lambda *_: LACKS)
    began = servers.clock()
    with pytest.raises(ModelMissing, match="face_detector 1"):
        list(servers.window([asked(1)]))
    assert MODEL_WAIT_S <= servers.clock() - began <= MODEL_WAIT_S + 2 * LONGEST_PAUSE_S


def test_a_model_that_is_being_loaded_answers_in_the_end(make):
    loading = ("UNAVAILABLE", "Request for unknown model: 'x' version 1 is not at ready state")
    servers = make(lambda number, rows, tries, url: loading if tries < 5 else None)
    assert numbers(servers.window([asked(3)])) == [3]


def test_servers_that_die_of_a_request_reject_it(make):
    servers = make(lambda *_: GONE)
    with pytest.raises(EndsServer, match="servers end when asked"):
        list(servers.window([asked(1)]))
    assert len(servers.calls) == MOST_DEATHS


def test_servers_that_cannot_be_reached_do_not_die_of_a_request(make):
    servers = make(lambda number, rows, tries, url: REFUSED if tries <= 3 * MOST_DEATHS else None)
    assert numbers(servers.window([asked(1)])) == [1]


def test_a_request_that_takes_too_long_too_often_is_given_up(make):
    servers = make(lambda *_: SLOW, took=TIMEOUT_S)
    with pytest.raises(InferenceError, match="no answer within 30 s, 3 times"):
        list(servers.window([asked(1)]))
    assert len(servers.calls) == MOST_TIMEOUTS


def test_a_slow_failure_is_no_outage(make):
    servers = make(lambda *_: BROKEN, took=OUTAGE_S)
    with pytest.raises(RejectedInput, match="alone"):
        list(servers.window([asked(1)]))
    assert len(servers.calls) == 1 + LONE_TRIES


def test_an_ended_process_of_a_model_is_the_server_s_fault(make):
    servers = make(lambda *_: ENDED)
    began = servers.clock()
    with pytest.raises(ServerUnavailable, match="process has ended there: face_detector") as caught:
        list(servers.window([asked(1), asked(2, rows=3)]))
    assert MODEL_WAIT_S <= servers.clock() - began <= MODEL_WAIT_S + 3 * LONGEST_PAUSE_S
    assert caught.value.where == "grpc://127.0.0.1:1"
    assert "Start the server again" in caught.value.fix
    assert sum(one.in_flight for one in servers.endpoints) == 0


def test_where_one_server_lost_a_process_the_others_are_asked(make):
    bad = "grpc://127.0.0.1:1"
    servers = make(lambda n, r, t, url: ENDED if url == bad else None, 2)
    servers.endpoints._is_ready = lambda endpoint: endpoint.ended is None
    assert numbers(servers.window((asked(n) for n in range(30)), 1)) == list(range(30))
    assert len([call for call in servers.calls if call[3] == bad]) <= 1
    assert len(servers.calls) <= 31


def test_a_busy_server_beside_one_that_lost_a_process_is_waited_for(make):
    bad = "grpc://127.0.0.1:1"
    servers = make(lambda n, r, t, url: ENDED if url == bad else FULL, 2)
    began = servers.clock()
    with pytest.raises(ServerUnavailable, match="maximum queue size"):
        list(servers.window([asked(1)]))
    assert servers.clock() - began >= OUTAGE_S


@pytest.mark.parametrize("error", [FULL, REFUSED])
def test_only_a_server_that_is_gone_is_given_up_early(make, error):
    servers = make(lambda *_: error)
    window = Window(servers, servers.endpoints, [asked(1)], 1, TIMEOUT_S, OUTAGE_S, gone_s=2.0)
    began = servers.clock()
    with pytest.raises(ServerUnavailable):
        list(window.answers())
    took = servers.clock() - began
    least = OUTAGE_S if error == FULL else 2.0
    assert least <= took <= least + 2 * LONGEST_PAUSE_S


def test_lost_memory_is_agreed_on_anew_and_then_done_without(make):
    servers = make(lambda number, rows, tries, url: LOST if tries <= MOST_LOST_REGIONS else None)
    assert numbers(servers.window([asked(1)])) == [1]
    (one,) = servers.endpoints
    assert one.shares is False


def test_what_a_model_says_is_no_word_of_the_server(make):
    """A text that names memory or things not found, from inside a model, is about its input."""
    servers = make(lambda number, *_: BROKEN if number == 2 else None)
    with pytest.raises(RejectedInput, match="indices not found"):
        list(servers.window(asked(n) for n in range(6)))
    assert servers.endpoints.usable()[0].in_question


def test_an_input_that_the_server_refuses_is_not_asked_again(make):
    servers = make(lambda *_: REFUSES)
    with pytest.raises(RejectedInput, match="input not found"):
        list(servers.window([asked(1)]))
    assert len(servers.calls) == 1
    assert servers.endpoints.usable()[0].in_question, "whether it may say so, its canary tells"


def test_what_one_server_refuses_another_is_asked(make):
    bad = "grpc://127.0.0.1:1"
    servers = make(lambda number, rows, tries, url: REFUSES if url == bad else None, count=2)
    assert numbers(servers.window(asked(n) for n in range(8))) == [*range(8)]
    assert {one.in_question for one in servers.endpoints} == {True}
    both = make(lambda *_: REFUSES, count=3)
    with pytest.raises(RejectedInput, match="input not found"):
        list(both.window([asked(1)]))
    assert len(both.calls) == MOST_REFUSALS


def test_while_one_is_asked_alone_nothing_else_is_under_way(make):
    servers = make(lambda number, rows, tries, url: BROKEN if (number, tries) == (3, 1) else None)
    assert numbers(servers.window(asked(n) for n in range(12))) == list(range(12))
    first, again = (i for i, call in enumerate(servers.calls) if call[0] == 3)
    assert servers.calls[first][2] > 1
    assert servers.calls[again][2] == 1
    following = servers.calls[again + 1]
    assert following[2] == 1


def test_a_batch_is_taken_apart_while_nothing_else_is_under_way(make):
    servers = make(lambda number, rows, tries, url: BROKEN if rows > 1 else None)
    requests = [asked(0), asked(10, rows=3), asked(1), asked(2), asked(3)]
    answers = list(servers.window(requests))
    assert [list(answer["peak"]) for answer in answers] == [[0], [10, 11, 12], [1], [2], [3]]
    rows = [call for call in servers.calls if call[0] >= 10 and call[1] == 1]
    assert [call[0] for call in rows] == [10, 11, 12]
    assert {call[2] for call in rows} == {1}


def test_the_row_of_a_batch_that_fails_is_named(make):
    servers = make(lambda number, rows, tries, url: BROKEN if rows > 1 or number == 12 else None)
    with pytest.raises(RejectedInput) as caught:
        list(servers.window([asked(10, rows=4)]))
    assert caught.value.row == 2


def test_a_failed_request_goes_to_another_server(make):
    bad = "grpc://127.0.0.1:1"
    servers = make(lambda n, r, t, url: GONE if url == bad else None, 2)
    assert numbers(servers.window(asked(n) for n in range(30))) == list(range(30))
    failed = [call for call in servers.calls if call[3] == bad]
    assert len(servers.calls) == 30 + len(failed)


def test_who_stops_taking_answers_cancels_what_is_under_way(make):
    servers = make()
    with closing(servers.window(asked(n) for n in range(20))) as answers:
        assert numbers([next(answers)]) == [0]
    assert servers.released == len(servers.calls)
    assert [one.in_flight for one in servers.endpoints] == [0]
