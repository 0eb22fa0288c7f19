"""Constrained answers keep to their grammar; hostile grammars are refused in words, in bounded time."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from engine_tests.llama.starter_logits import StarterLogits

from engine.errors import InvalidRequest
from engine.grammar import compiler as compiler_module
from engine.grammar.compiler import GrammarCompiler, check_grammar
from engine.grammar.gbnf import gbnf_to_lark
from engine.llama.sampler import RowSampler
from engine.step import Constraint, Work
from engine.types import SamplingParams

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 12},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "kind": {"enum": ["cat", "dog"]},
            "tags": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2},
        },
        "required": ["name", "age", "kind", "tags"],
        "additionalProperties": False,
    }
)
GRAMMAR = r"""
root  ::= "Name: " name " (" [1-9] [0-9]? ")" more{0,2}  # a comment
name  ::= [A-Z] [a-z]{2,8}
more  ::= ", " ("é" | "\u00FC" | "\\")
"""
SENTENCE = re.compile(r"Name: [A-Z][a-z]{2,8} \([1-9][0-9]?\)(, (é|ü|\\)){0,2}")


def str_id(value: object) -> str:
    """A name for a test out of an argument that may be very long."""
    return str(value)[:24].strip()


@pytest.fixture(scope="module")
def starter(starter_model: Path) -> Iterator[StarterLogits]:
    logits = StarterLogits(starter_model)
    yield logits
    logits.close()


@pytest.fixture(scope="module")
def compiler(starter: StarterLogits) -> GrammarCompiler:
    return GrammarCompiler(
        vocab_size=starter.vocab_size,
        pieces=starter.piece,
        tokenize=starter.tokenize,
        eog_tokens=[token for token in range(starter.vocab_size) if starter.is_eog(token)],
    )


def compiled(
    compiler: GrammarCompiler, *, schema: str | None = None, grammar: str | None = None
) -> Constraint:
    constraint = compiler.compile(SamplingParams(json_schema=schema, grammar=grammar))
    assert constraint is not None
    return constraint


def accepts(starter: StarterLogits, constraint: Constraint, text: str) -> bool:
    """Whether a text may be written, and then the answer end."""
    for token in starter.tokenize(text):
        allowed = constraint.allows(token)
        assert constraint.mask()[token] == allowed
        if not allowed:
            return False
        constraint.accept(token)
    ends = {constraint.allows(token) for token in range(starter.vocab_size) if starter.is_eog(token)}
    assert len(ends) == 1
    return ends.pop()


def answer(
    starter: StarterLogits, params: SamplingParams, constraint: Constraint, *, noise: bool
) -> tuple[str, bool]:
    """An answer of the starter model, or of one that writes only noise, and whether it ended its turn."""
    starter.restart()
    sampler = RowSampler(vocab_size=starter.vocab_size, threads=1, is_eog=starter.is_eog)
    random = np.random.default_rng(params.seed)
    prompt = "<|im_start|>user\nDescribe a pet.<|im_end|>\n<|im_start|>assistant\n"
    tokens = starter.tokenize(prompt, special=True)
    sampler.open(1, params, tokens, constraint)
    text = b""
    for _ in range(150):
        rows = (
            random.standard_normal((1, starter.vocab_size), np.float32) if noise else starter.decode(tokens)
        )
        tokens = list(sampler.sample(rows[-1:], [Work(1, 0, 0, (tokens[-1],), 1)])[1])
        if starter.is_eog(tokens[0]):
            break
        text += starter.piece(tokens[0])
    sampler.close_all()
    return text.decode(), starter.is_eog(tokens[0])


@pytest.mark.parametrize(("seeds", "noise"), [(2, False), (12, True)])
def test_answers_keep_to_a_json_schema(
    starter: StarterLogits, compiler: GrammarCompiler, seeds: int, noise: bool
) -> None:
    names = set()
    for seed in range(seeds):
        params = SamplingParams(temperature=1.0, seed=seed, json_schema=SCHEMA)
        text, ended = answer(starter, params, compiled(compiler, schema=SCHEMA), noise=noise)
        assert ended, text
        value = json.loads(text)
        assert list(value) == ["name", "age", "kind", "tags"]
        assert isinstance(value["name"], str)
        assert 1 <= len(value["name"]) <= 12
        assert isinstance(value["age"], int)
        assert 0 <= value["age"] <= 120
        assert value["kind"] in ("cat", "dog")
        assert 1 <= len(value["tags"]) <= 2
        assert set(map(type, value["tags"])) == {bool}
        names.add(value["name"])
    assert len(names) > seeds // 4


@pytest.mark.parametrize(("seeds", "noise"), [(2, False), (12, True)])
def test_answers_keep_to_a_grammar(
    starter: StarterLogits, compiler: GrammarCompiler, seeds: int, noise: bool
) -> None:
    texts = set()
    for seed in range(seeds):
        params = SamplingParams(temperature=1.0, seed=seed, grammar=GRAMMAR)
        text, ended = answer(starter, params, compiled(compiler, grammar=GRAMMAR), noise=noise)
        assert ended, text
        assert SENTENCE.fullmatch(text), text
        texts.add(text)
    assert len(texts) > seeds // 4


@pytest.mark.parametrize(
    ("grammar", "right", "wrong"),
    [
        ('root ::= [a-z]+ "x"', ["abcx", "xxx"], ["abc", "x"]),  # longest-match lexemes would never end
        ('root ::= [a-z]* "ab"', ["ab", "abab"], ["aba"]),
        ('root ::= root "a" | "b"', ["b", "baaa"], ["a", "bab"]),
        ('root ::= ("ab"{2} | "c")+', ["abab", "cababc"], ["ab", "ababab"]),
        ('root ::= ("a"{0,3}){2}', ["", "aaaaaa"], ["aaaaaaa"]),
        ('root ::= [^"\\\\\\n] . [a-] [\\]\\-]', ["é\na]", "az--"], ['"aa]', "\\aa]", "aab]"]),
        ('root ::= "\\x41\\u00e9\\U0001F600" [/"]', ["Aé😀/", 'Aé😀"'], ["Aé😀", "A"]),
        ('root ::= a-B | aB\na-B ::= "1"\naB ::=\n  "2" | # and\n  "3"', ["1", "2", "3"], ["4"]),
        ('root ::= "a" ( | "b"\n | "c" ) "d"{1,}', ["ad", "abdd", "acd"], ["a", "bd"]),
    ],
)
def test_gbnf_means_what_it_means_in_llama_cpp(
    starter: StarterLogits, compiler: GrammarCompiler, grammar: str, right: list[str], wrong: list[str]
) -> None:
    for text in right:
        assert accepts(starter, compiled(compiler, grammar=grammar), text), text
    for text in wrong:
        assert not accepts(starter, compiled(compiler, grammar=grammar), text), text


def test_white_space_in_json_ends(starter: StarterLogits, compiler: GrammarCompiler) -> None:
    schema = '{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}'
    for text in ('{"a":1}', '{"a": 1}', '{\n    "a": 1\n}'):
        assert accepts(starter, compiled(compiler, schema=schema), text), text
    assert not accepts(starter, compiled(compiler, schema=schema), '{\n\n"a": 1}')


def test_after_the_end_only_the_end_is_allowed(starter: StarterLogits, compiler: GrammarCompiler) -> None:
    constraint = compiled(compiler, grammar='root ::= "yes"')
    assert not any(constraint.mask()[token] for token in range(64) if starter.is_eog(token))
    assert accepts(starter, constraint, "yes")
    for _ in range(3):
        allowed = constraint.mask().nonzero()[0].tolist()
        assert allowed
        assert all(starter.is_eog(token) for token in allowed)
        assert constraint.allows(allowed[0])
        constraint.accept(allowed[0])


def test_an_answer_that_cannot_continue_ends(starter: StarterLogits, compiler: GrammarCompiler) -> None:
    constraint = compiled(compiler, grammar='root ::= "yes"')
    constraint.accept(starter.tokenize("no")[0])  # breaks the contract, as a defect of the matcher would
    allowed = constraint.mask().nonzero()[0].tolist()
    assert allowed
    assert all(starter.is_eog(token) for token in allowed)


def test_no_control_token_is_text(starter: StarterLogits, compiler: GrammarCompiler) -> None:
    mask = compiled(compiler, grammar="root ::= .{1,2000}").mask()
    assert mask.sum() > starter.vocab_size * 0.9
    assert not any(mask[token] for token in range(starter.vocab_size) if not starter.piece(token))


def test_a_schema_may_be_true(starter: StarterLogits, compiler: GrammarCompiler) -> None:
    for text in ('[1, {"a": null}]', '"yes"'):
        assert accepts(starter, compiled(compiler, schema="true"), text)
    assert not accepts(starter, compiled(compiler, schema="true"), "yes")


def test_what_has_no_constraint_has_none(compiler: GrammarCompiler) -> None:
    assert compiler.compile(SamplingParams()) is None


def test_it_compiles_on_one_thread_and_runs_on_another(
    starter: StarterLogits, compiler: GrammarCompiler
) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: compiled(compiler, grammar=GRAMMAR), range(8)))
    assert all(accepts(starter, constraint, "Name: Bob (7)") for constraint in found)


def nested(levels: int) -> str:
    """A chain of references, each one object deeper."""
    link = {"type": "object", "required": ["x"]}
    definitions = {
        f"a{i}": link | {"properties": {"x": {"$ref": f"#/$defs/a{i + 1}"}}} for i in range(levels)
    }
    definitions[f"a{levels}"] = {"type": "string"}
    return json.dumps({"$ref": "#/$defs/a0", "$defs": definitions})


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("", "The JSON schema is empty."),
        ("{nope", "The JSON schema is not JSON: .* line 1 column 2"),
        ("3", "must be an object"),
        ("false", "must be an object"),
        ('{"enum": []}', "Unsatisfiable"),
        ('{"allOf": [{"type": "string"}, {"type": "integer"}]}', "incompatible types"),
        ('{"$ref": "#"}', "allows no answer"),
        ('{"$ref": "http://example.com/x.json"}', "http://example.com/x.json"),
        ('{"$ref": "#/$defs/nope"}', "does not exist"),
        ('{"not": {}}', "Unimplemented"),
        ('{"type": "string", "pattern": "(?=a)b"}', "look-around"),
        ('{"type": "string", "pattern": "' + "(" * 2000 + ")" * 2000 + '"}', "nested parentheses"),
        ("[" * 50_000, "recursion"),
        (" " * 100_001, "longer than 100,000"),
        (nested(900), "too deeply"),
    ],
    ids=str_id,
)
def test_a_bad_schema_is_refused_in_a_sentence(compiler: GrammarCompiler, schema: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        compiler.compile(SamplingParams(json_schema=schema))
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("grammar", "message"),
    [
        (" \n", "The grammar is empty."),
        ("# nothing", "no rule 'root'"),
        ('a ::= "b"', "no rule 'root'"),
        ('root ::= "a"\n\nb ::= nope', r"no rule 'nope' \(line 3\)"),
        ('root ::= "a"\nroot ::= "b"', r"duplicate rule 'root' \(line 2\)"),
        ("root ::= root", "allows no answer"),
        ("root ::= a\na ::= b\nb ::= a", "allows no answer"),
        ('root = "a"', "expected '::='"),
        ('root ::= ("a"', r"expected '\)'"),
        ('root ::= "a" )', r"unexpected '\)'"),
        ('root ::= "a', "unterminated"),
        ("root ::= [a", "unterminated"),
        ("root ::= []", "empty"),
        ("root ::= [z-a]", "reversed"),
        ('root ::= "\\q"', "unknown escape"),
        ('root ::= "\\ud800"', "no character"),
        ("root ::= <|im_end|>", "unexpected '<'"),
        ('root ::= "a"{3,2}', "maximum of a repetition is below its minimum"),
        ('root ::= "a"{0,1000000000}', "a repetition exceeds 2000"),
        ('root ::= "a"{99999999999999999999}', "unexpected '{'"),
        ("root ::= " + "(" * 40_000 + '"a"' + ")" * 40_000, "nested brackets"),
        (
            "root ::= a0\n" + "".join(f"a{i} ::= a{i + 1}\n" for i in range(4000)) + 'a4000 ::= "x"',
            "too deeply",
        ),
    ],
    ids=str_id,
)
def test_a_bad_grammar_is_refused_in_a_sentence(
    compiler: GrammarCompiler, grammar: str, message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        compiler.compile(SamplingParams(grammar=grammar))
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": [{"type": "integer", "multipleOf": 9973}, {"multipleOf": 9967}]},
        {"allOf": [{"type": "string", "pattern": f"(a|b)*a(a|b){{{n}}}$"} for n in range(10, 40)]},
    ],
)
def test_what_would_compile_for_hours_is_refused(
    compiler: GrammarCompiler, schema: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler_module, "_TIMEOUT_S", 1.0)
    compiler_module._try_grammar.cache_clear()
    with pytest.raises(InvalidRequest, match="takes more than 1 s"):
        compiler.compile(SamplingParams(json_schema=json.dumps(schema)))


def test_what_took_too_long_once_is_tried_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[str] = []

    def busy(grammar: str) -> str:
        tries.append(grammar)
        if len(tries) == 1:
            raise subprocess.TimeoutExpired("python", 3.0)
        return ""

    monkeypatch.setattr(compiler_module, "_try_grammar", busy)
    monkeypatch.setattr(compiler_module, "_timed_out", {})
    now = 1000.0
    monkeypatch.setattr(compiler_module, "monotonic", lambda: now)
    assert "takes more than 3 s" in check_grammar("root")
    now += 59
    assert "takes more than 3 s" in check_grammar("root"), "not tried again at once"
    now += 2
    assert check_grammar("root") == ""
    assert tries == ["root"] * 2


@pytest.mark.parametrize(
    ("schema", "grammar"),
    [
        ({"type": "string", "pattern": "^((a{1,1000}){1,1000}){1,1000}$"}, None),
        ({"type": "string", "pattern": "(a|b)*a(a|b){40}$"}, None),
        ({"type": "array", "minItems": 10**9, "items": {"type": "integer"}}, None),
        ({"type": "string", "minLength": 10**9}, None),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"type": "array", "items": {"$ref": "#/$defs/x"}}}}, None),
        (None, 'root ::= (("a"{0,1000}){0,1000}){0,1000}'),
        (None, 'root ::= (("a" | "b")* ("a" | "b")*)*'),
        (None, 'root ::= root root | "a" | ""'),
        (None, "root ::= " + '"a" | ' * 500 + '"b"'),
        (None, 'root ::= "' + "a" * 50_000 + '"'),
    ],
    ids=str_id,
)
def test_a_hostile_grammar_that_compiles_steps_or_ends(
    compiler: GrammarCompiler, schema: dict[str, object] | None, grammar: str | None
) -> None:
    constraint = compiled(compiler, schema=json.dumps(schema) if schema else None, grammar=grammar)
    rng = np.random.default_rng(1)
    for _ in range(60):
        allowed = constraint.mask().nonzero()[0]
        assert allowed.size
        constraint.accept(int(rng.choice(allowed)))


def test_only_the_child_process_crashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler_module, "_CHILD", "import os; os.abort()")
    compiler_module._try_grammar.cache_clear()
    assert "too deeply" in check_grammar("anything")
    compiler_module._try_grammar.cache_clear()


def test_a_converted_grammar_keeps_its_names_apart() -> None:
    lark = gbnf_to_lark('root ::= x-y xY XY\nx-y ::= "a"\nxY ::= "b"\nXY ::= "c"')
    assert lark.splitlines()[1:] == [
        "start: r1 r2 r3",
        r"r1: /\u{61}/",
        r"r2: /\u{62}/",
        r"r3: /\u{63}/",
    ]
