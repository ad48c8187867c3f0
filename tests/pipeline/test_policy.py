"""Policies: packaged, from files, wrong ones."""

from __future__ import annotations

import pytest

from pipeline.errors import ConfigurationError
from pipeline.policy import PrivacyPolicy, load_policy, packaged_policies, parse_policy


def test_packaged_policies_load_under_their_own_name():
    assert set(packaged_policies()) >= {"default", "eu", "us"}
    for name in packaged_policies():
        assert load_policy(name).name == name


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("name: x\nface: {threshold: 2}\nplate: {threshold: 0.3}", "face.threshold"),
        ("name: x\nplate: {threshold: 0.3}", "face"),
        ("name: x\nface: {threshold: 0.3, colour: red}\nplate: {threshold: 0.3}", "face.colour"),
        ("name: x\nface: {threshold: {24: 0.3}}\nplate: {threshold: 0.3}", "face.threshold"),
        ("name: x\nface: {threshold: {0: 2}}\nplate: {threshold: 0.3}", "face.threshold.0"),
        ("name: x\nface: {threshold: 0.01}\nplate: {threshold: 0.3}", "face.threshold"),
        (
            "name: x\nface: {threshold: 0.3, style: {dilation: -0.1}}\nplate: {threshold: 0.3}",
            "face.style.dilation.top",
        ),
        (
            "name: x\nface: {threshold: 0.3, style: {dilation: wide}}\nplate: {threshold: 0.3}",
            "face.style.dilation",
        ),
        (
            "name: x\nface: {threshold: 0.3, style: {strength: 0.05}}\nplate: {threshold: 0.3}",
            "face.style.strength",
        ),
    ],
)
def test_a_wrong_value_names_field_and_file(text, field, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_policy(str(path))
    assert field in str(caught.value)
    assert "mine.yaml" in str(caught.value)


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", ""])
def test_what_is_no_mapping_is_refused(text):
    with pytest.raises(ConfigurationError):
        parse_policy(text, "here")


def test_an_unknown_name_lists_the_choices():
    with pytest.raises(ConfigurationError, match="default"):
        load_policy("nowhere")


def test_digest_follows_what_changes_outputs_alone():
    policy = load_policy("default")
    renamed = policy.model_copy(update={"name": "other", "description": "else"})
    stricter = policy.model_copy(
        update={"face": policy.face.model_copy(update={"threshold": {0: 0.123}})}
    )
    assert renamed.digest() == policy.digest()
    assert stricter.digest() != policy.digest()


def test_thresholds_by_height_survive_being_stored():
    policy = load_policy("default")
    again = PrivacyPolicy.model_validate_json(policy.model_dump_json())
    assert again == policy
    assert again.digest() == policy.digest()
    assert policy.face.lowest_threshold == min(policy.face.threshold.values())


@pytest.mark.parametrize("name", packaged_policies())
def test_what_is_shown_can_be_given_back(name):
    policy = load_policy(name)
    assert parse_policy(policy.to_yaml(), "here") == policy
