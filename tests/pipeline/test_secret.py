"""The noise secret: where it comes from, and that it shows nowhere."""

from __future__ import annotations

import pickle
import random

import pytest

from pipeline.due import Choice
from pipeline.errors import ConfigurationError
from pipeline.result import Exit
from pipeline.secret import NoiseSecret, fresh_secret, read_secret
from tests.integration.jobs import cut_off, files, pictures, run_stubbed

GOOD = "e07b1c94d2586fa3390dc6b81e75f24a5bd3806e97412cfaa86df15037c29e4b"


def test_from_environment_and_from_file(tmp_path):
    path = tmp_path / "secret"
    path.write_text(GOOD + "\n")
    path.chmod(0o600)
    from_file = read_secret({"STREETBLUR_SECRET_FILE": str(path)})
    from_environment = read_secret({"STREETBLUR_SECRET": GOOD})
    assert from_file is not None
    assert from_environment is not None
    assert from_file.id == from_environment.id
    assert read_secret({}) is None


OTHER = "5d2f80e9b31c7a4640f6de17a8c39b025ee471bc0fd82a6993c5461e7ab8f03d"
FIRST = bytes.fromhex(GOOD)[:16]
REGULAR = {
    "one byte": "5a" * 32,
    "digits in order": "0123456789abcdef" * 4,
    "half the digits": "01234567" * 8,
    "16 bytes twice": GOOD[:32] * 2,
    "an odd number of bytes, again and again": (GOOD[:26] * 3)[:64],
    "an odd number of digits, again and again": (GOOD[:9] * 8)[:64],
    "zeros and a few others": "00" * 28 + "01234567",
    "15 different bytes": (FIRST[:15] + FIRST[14::-1] + FIRST[3:5]).hex(),
    "counts up": bytes(range(32)).hex(),
    "counts down by 7, around": bytes(-7 * i % 256 for i in range(32)).hex(),
    "counts for 9 bytes": GOOD[:46] + "11131517191b1d1f21",
    "printable text": b"The quick brown fox jumps over 1".hex(),
    "text and a newline": b"The quick brown fox jumps over!\n".hex(),
    "text in UTF-8": "Zwölf Boxkämpfer jagen Viktor!".encode().hex(),
    "decimal digits": "3141592653589793238462643383279502884197169399375105820974944592",
    "9 zeros": GOOD[:20] + "00" * 9 + GOOD[38:],
}


@pytest.mark.parametrize("kind", REGULAR)
@pytest.mark.parametrize("change", [str.lower, str.upper])
def test_a_regular_secret_is_refused_with_what_to_do(kind, change):
    value = change(REGULAR[kind])
    assert len(value) == 64
    with pytest.raises(
        ConfigurationError, match=r"too regular.*secrets\.token_hex\(32\)"
    ) as caught:
        read_secret({"STREETBLUR_SECRET": value})
    assert value not in str(caught.value)


def test_random_secrets_are_accepted():
    draw = random.Random(20)
    for _ in range(20_000):
        value = draw.randbytes(32)
        secret = read_secret({"STREETBLUR_SECRET": value.hex()})
        assert secret is not None
        assert secret.reveal() == value


@pytest.mark.parametrize(
    "value",
    [
        GOOD[:48] + "11131517191b1d1f",
        GOOD[:20] + "00" * 8 + GOOD[36:],
        GOOD[:34] + GOOD[:30],
        (FIRST + FIRST[::-1]).hex(),
    ],
    ids=["counts for 8 bytes", "8 zeros", "17 bytes, then the same again", "16 different bytes"],
)
def test_less_than_a_pattern_is_accepted(value):
    assert read_secret({"STREETBLUR_SECRET": value}) is not None


@pytest.mark.parametrize("value", ["short", "z" * 64, "0" * 64, GOOD + "00"])
def test_a_weak_or_malformed_secret_is_refused_without_being_shown(value):
    with pytest.raises(ConfigurationError) as caught:
        read_secret({"STREETBLUR_SECRET": value})
    assert value not in str(caught.value)


def test_a_file_open_to_others_is_refused(tmp_path):
    path = tmp_path / "secret"
    path.write_text(GOOD)
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        read_secret({"STREETBLUR_SECRET_FILE": str(path)})


def test_it_is_neither_shown_nor_pickled():
    secret = NoiseSecret(bytes.fromhex(GOOD))
    assert GOOD not in repr(secret) + str(secret) + secret.id
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_fresh_secrets_differ():
    assert fresh_secret().id != fresh_secret().id


def test_a_wrong_secret_stops_a_run_before_it_does_anything(tmp_path, monkeypatch):
    pictures(tmp_path / "in", 1)
    monkeypatch.setenv("STREETBLUR_SECRET", "abc")
    with pytest.raises(ConfigurationError):
        run_stubbed(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_secret_makes_nothing_due_and_a_rerun_of_the_shard_takes_it(
    source, output, tmp_path, monkeypatch
):
    monkeypatch.setenv("STREETBLUR_SECRET", GOOD)
    run_stubbed(source, output)
    before = files(output)
    monkeypatch.setenv("STREETBLUR_SECRET", OTHER)
    result, recorder = run_stubbed(source, output)
    assert (result.exit_code, recorder.rows) == (Exit.COMPLETE, [])
    assert files(output) == before
    run_stubbed(source, output, choice=Choice("all", shard=0))
    run_stubbed(source, tmp_path / "anew")
    assert files(output) == files(tmp_path / "anew")
    assert not [key for key, data in files(output).items() if data == before[key]]


def test_a_run_that_was_killed_is_finished_with_another_secret(
    source, output, tmp_path, monkeypatch
):
    monkeypatch.setenv("STREETBLUR_SECRET", GOOD)
    unrecorded = cut_off(source, output)
    monkeypatch.setenv("STREETBLUR_SECRET", OTHER)
    result, _ = run_stubbed(source, output)
    assert result.exit_code is Exit.COMPLETE
    run_stubbed(source, tmp_path / "anew")
    assert files(output) == files(tmp_path / "anew")
    assert not [key for key, data in unrecorded.items() if files(output)[key] == data]


def test_outcomes_tell_which_secret_a_picture_was_made_with(source, output, monkeypatch):
    ids = {one: NoiseSecret(bytes.fromhex(one)).id for one in (GOOD, OTHER)}
    monkeypatch.setenv("STREETBLUR_SECRET", GOOD)
    result, _ = run_stubbed(source, output)
    assert {row["secret_id"] for row in outcomes(result)} == {ids[GOOD]}
    monkeypatch.setenv("STREETBLUR_SECRET", OTHER)
    result, _ = run_stubbed(source, output, choice=Choice("all", shard=0))
    assert {row["secret_id"] for row in outcomes(result)} == {ids[OTHER]}


def outcomes(result):
    ledger = result.workspace.ledger
    ledger.refresh()
    return [row for _, entry in ledger.shards() for row in ledger.outcomes(entry.shard)]


def test_records_do_not_hold_the_secret(source, output, monkeypatch):
    monkeypatch.setenv("STREETBLUR_SECRET", GOOD)
    run_stubbed(source, output)
    forms = [GOOD.encode(), bytes.fromhex(GOOD)]
    records = [path for path in output.rglob("*") if path.is_file()]
    assert len(records) > len(files(output))
    assert not [path for path in records if any(form in path.read_bytes() for form in forms)]
