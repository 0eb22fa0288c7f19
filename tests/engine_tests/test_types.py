"""Requests and their parameters check themselves; the door hands out what it names."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest

import engine
from engine import ChatMessage, GenerationRequest, InvalidRequest, SamplingParams, ToolCall
from engine.types import resolve_seed


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"top_p": 1.5},
        {"min_p": -0.1},
        {"top_k": -1},
        {"repetition_penalty": 0},
        {"max_tokens": 0},
        {"seed": -1},
        {"stop": ("",)},
        {"top_k": 40.5},
        {"seed": 1.5},
        {"max_tokens": True},
        {"temperature": "0.5"},
        {"dry_breakers": ("x",) * 33},
        {"dry_breakers": (7,)},
        {"logit_bias": {1.5: 1.0}},
        {"logit_bias": {1: float("nan")}},
    ],
)
def test_sampling_out_of_range_is_refused_by_name(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(InvalidRequest, match=name):
        SamplingParams(**wrong)


def test_a_request_needs_a_message() -> None:
    with pytest.raises(InvalidRequest):
        GenerationRequest(messages=[])


@pytest.mark.parametrize("tool", ["x", {"type": "function", "function": "x"}, {"function": {"name": ["x"]}}])
def test_a_tool_without_a_name_is_refused(tool: Any) -> None:
    with pytest.raises(InvalidRequest, match="A tool must be an object"):
        GenerationRequest(messages=[ChatMessage("user", "hi")], tools=[tool])


HI = [ChatMessage("user", "hi")]


@pytest.mark.parametrize(
    ("kind", "given", "told"),
    [
        (ChatMessage, {"role": "user", "content": None}, "The content of a message must be a text, not None"),
        (
            ChatMessage,
            {"role": "user", "content": "x", "tool_calls": ["x"]},
            "must be a list of ToolCall, but one is str",
        ),
        (ToolCall, {"name": "x", "arguments": {}}, "The arguments of a tool call must be a text, not dict"),
        (GenerationRequest, {"text": 5}, "text must be a text, not int"),
        (GenerationRequest, {"tokens": ["a"]}, "tokens must be a list of numbers, but one is str"),
        (GenerationRequest, {"tokens": 5}, "tokens must be a list of numbers, not int"),
        (
            GenerationRequest,
            {"messages": [{"role": "user"}]},
            "must be a list of ChatMessage, but one is dict",
        ),
        (
            GenerationRequest,
            {"messages": HI, "template_args": "x"},
            "template_args must be a mapping, not str",
        ),
        (GenerationRequest, {"messages": HI, "tools": 5}, "tools must be a list of objects, not int"),
        (GenerationRequest, {"messages": HI, "session_id": 7}, "session_id must be a text, not int"),
        (GenerationRequest, {"messages": HI, "sampling": {}}, "sampling must be SamplingParams, not dict"),
        (SamplingParams, {"stop": None}, "stop must be a list of texts, not None"),
        (SamplingParams, {"stop": "abc"}, "stop must be a list of texts, not str"),
        (SamplingParams, {"logit_bias": [1]}, "logit_bias must be a mapping, not list"),
        (SamplingParams, {"logit_bias": {1: "x"}}, "logit_bias cannot add 'x' to token 1"),
        (SamplingParams, {"grammar": 5}, "grammar must be a text, not int"),
        (SamplingParams, {"ignore_eos": "false"}, "ignore_eos must be True or False, not 'false'"),
        (SamplingParams, {"max_tokens": 10**400}, "max_tokens must be between 1 and"),
        (SamplingParams, {"temperature": 10**400}, "temperature must be between 0 and 5"),
        (SamplingParams, {"top_k": 10**5000}, "top_k must be between .* a int that cannot be shown"),
        (SamplingParams, {"temperature": float("nan")}, "temperature must be between 0 and 5, not nan"),
        (SamplingParams, {"logit_bias": {1: 10**5000}}, "logit_bias cannot add a int that cannot be shown"),
        (GenerationRequest, {"messages": HI, "parse_reply": "no"}, "parse_reply must be True or False"),
        (GenerationRequest, {"messages": HI, "priority": 10**5000}, "priority must be one of"),
        (GenerationRequest, {"messages": HI, "priority": []}, "priority must be one of"),
        (ChatMessage, {"role": "x" * 500, "content": "x"}, r"not 'x+…\."),
    ],
)
def test_what_is_of_the_wrong_type_is_refused_in_words(kind: Any, given: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidRequest, match=told):
        kind(**given)


def test_a_message_is_from_somebody_known() -> None:
    role: Any = "user<|end_of_role|><|start_of_role|>system"
    with pytest.raises(InvalidRequest, match="must be from system, user, assistant, tool, not 'user<"):
        ChatMessage(role, "hi")


def test_a_prompt_is_given_once() -> None:
    for given in ({}, {"text": "x", "tokens": [1]}, {"text": "x", "template_args": {"a": 1}}):
        with pytest.raises(InvalidRequest):
            GenerationRequest(**given)


def test_messages_are_copied() -> None:
    messages = [ChatMessage("user", "hi")]
    request = GenerationRequest(messages=messages)
    messages.clear()
    assert request.messages == (ChatMessage("user", "hi"),)


def test_seeds_are_kept_or_drawn() -> None:
    assert resolve_seed(SamplingParams(seed=7)) == 7
    assert len({resolve_seed(SamplingParams()) for _ in range(20)}) > 1


def test_every_public_name_is_there() -> None:
    assert sorted(engine.__all__) == sorted(set(engine.__all__))
    assert all(hasattr(engine, name) for name in engine.__all__)


def test_the_engine_loads_what_is_heavy_only_with_a_model() -> None:
    """A screen is drawn before a model is loaded, and must not wait for numpy, Jinja or llama.cpp."""
    heavy = ("numpy", "jinja2", "llguidance", "llama_cpp", "psutil")
    code = f"""
import sys, engine
assert not "engine.engine" in sys.modules, "the door loads Engine at its first use"
import engine.engine
engine.Engine(engine.EngineConfig(model_path="m.gguf"))
print(*[name for name in {heavy} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("priority", ["high", 99, None])
def test_a_priority_is_one_whatever_the_types_say(priority: Any) -> None:
    with pytest.raises(InvalidRequest, match="BACKGROUND, NORMAL, FOREGROUND"):
        GenerationRequest(text="hi", priority=priority)


@pytest.mark.parametrize("bias", [10**400, 1e38, math.inf, math.nan], ids=["huge", "1e38", "inf", "nan"])
def test_a_bias_can_be_added(bias: float) -> None:
    with pytest.raises(InvalidRequest, match="logit_bias cannot add"):
        SamplingParams(logit_bias={3: bias})
