"""The settings file: defaults, what is read, and errors that name file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import EngineConfig, InvalidRequest, SamplingParams
from memory import STRATEGIES
from stevemin_chat.base.config import (
    STRATEGY_NAMES,
    Config,
    EngineSection,
    MemorySection,
    SamplingSection,
    load_config,
)
from stevemin_chat.base.errors import ConfigFileError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def test_without_a_file_the_defaults_count(file: Path) -> None:
    assert load_config(file) == Config()
    assert Config().model == "smollm2-135m"
    assert Config().strategy == "hierarchical"


def test_the_sections_default_to_what_the_engine_defaults_to() -> None:
    assert EngineSection().for_model(Path("m.gguf")) == EngineConfig(model_path=Path("m.gguf"))
    assert SamplingSection().params() == SamplingParams()


def test_everything_can_be_set(file: Path) -> None:
    file.write_text(
        """
        model = "qwen3-4b"
        strategy = "full"
        system_prompt = "Be brief."
        theme = "nord"
        engine = { max_sessions = 2, gpu_layers = 0, flash_attention = "on", kv_type = "q8_0" }
        [sampling]
        temperature = 0
        stop = ["\\n"]
        seed = 7
        [memory]
        enabled = false
        summaries = false
        facts_by_model = "off"
        scope = "project"
        chroma_url = "https://chroma.example:8443/team"
        """
    )
    config = load_config(file)
    assert (config.model, config.strategy, config.system_prompt, config.theme) == (
        "qwen3-4b", "full", "Be brief.", "nord"
    )  # fmt: skip
    engine = config.engine.for_model(file, parked_folder=Path("parked"))
    assert (engine.max_sessions, engine.kv_type, engine.parked_folder) == (2, "q8_0", Path("parked"))
    assert config.memory == MemorySection(
        enabled=False,
        summaries=False,
        facts_by_model="off",
        scope="project",
        chroma_url="https://chroma.example:8443/team",
    )
    assert config.sampling.params(max_tokens=3) == SamplingParams(
        temperature=0, stop=("\n",), seed=7, max_tokens=3
    )


def test_a_replaced_value_is_checked() -> None:
    with pytest.raises(InvalidRequest, match="top_p must be between 0 and 1"):
        Config().sampling.params(top_p=2.0)


def test_settings_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().model = "other"


@pytest.mark.parametrize(
    ("text", "line", "key", "what"),
    [
        ('mdel = "x"', 1, "mdel", "no such setting. Did you mean model?"),
        ("zzz = 1", 1, "zzz", "Known here: model, strategy"),
        ("# c\n\n[engine]\nmax_sesions = 3", 4, "engine.max_sesions", "Did you mean max_sessions?"),
        ("[sampling]\n\ntemperature = 9.0", 3, "sampling.temperature", "between 0 and 5, not 9"),
        ("[sampling]\ntemperature = nan", 2, "sampling.temperature", "not nan"),
        ('[sampling]\ntemperature = "hot"', 2, "sampling.temperature", "must be a valid number, not 'hot'"),
        ("[sampling]\ntop_k = 1\nseed = -1", 3, "sampling.seed", "seed must be between"),
        ('[sampling]\nstop = ["a", ""]', 2, "sampling.stop", "must not be empty"),
        ('system_prompt = """a\nb"""\nmodel = 3', 3, "model", "must be a valid string, not 3"),
        ('model = " "', 1, "model", "must not be empty"),
        (
            '\nstrategy = "slidng"',
            2,
            "strategy",
            "no strategy 'slidng'. Choose one of: hierarchical, adaptive,",
        ),
        ('strategy = ""', 1, "strategy", "Choose one of: "),
        ("engine = 3", 1, "engine", "must be a section: [engine]"),
        (
            'engine.flash_attention = "maybe"',
            1,
            "engine.flash_attention",
            "'auto', 'on' or 'off', not 'maybe'",
        ),
        ("[engine]\nthreads = true", 2, "engine.threads", "must be a valid integer"),
        ("[engine]\nmax_sessions = 0", 2, "engine.max_sessions", "between 1 and 256"),
        ("[engine]\ncontext_tokens = 99", 2, "engine.context_tokens", "at least batch_tokens (512)"),
        (
            '[engine]\nflash_attention = "off"\nkv_type = "q4_0"',
            3,
            "engine.kv_type",
            "q4_0 needs flash attention, but flash_attention is off",
        ),
        ('[engine]\nkv_type = "q5_1"', 2, "engine.kv_type", "'f16', 'q8_0' or 'q4_0', not 'q5_1'"),
        ('[memory]\nscope = "all"', 2, "memory.scope", "'session', 'project' or 'everywhere', not 'all'"),
        ('[memory]\nenabled = "no"', 2, "memory.enabled", "must be a valid boolean"),
        ("[memory]\nsummary = true", 2, "memory.summary", "Did you mean summaries?"),
        ('[memory]\nchroma_url = "localhost:8000"', 2, "memory.chroma_url", "not 'localhost:8000'"),
        ('[memory]\nchroma_url = "http://"', 2, "memory.chroma_url", "such as http://localhost:8000"),
        ('[memory]\nchroma_url = "http://a:port"', 2, "memory.chroma_url", "not 'http://a:port'"),
        ("[memory]\nembedder = 7", 2, "memory.embedder", "not 7"),
        ('[memory]\nreranker = " "', 2, "memory.reranker", "must name a model"),
        ('[memory]\nchroma_url = "ftp://a"', 2, "memory.chroma_url", "not 'ftp://a'"),
        ('[memory]\nchroma_url = "http://[a"', 2, "memory.chroma_url", "not 'http://[a'"),
        ("[engine]\nparked_ram_mib = -1", 2, "engine.parked_ram_mib", "between 0 and"),
        (
            "[engine]\nprefill_tokens = 64",
            2,
            "engine.prefill_tokens",
            "This setting was removed. Use step_target_ms",
        ),
        ("[engine]\na = 1\nb = 2", 2, "engine.a", "(1 more after this one.)"),
        ('model = "x"\r\nnope = 1', 2, "nope", "no such setting"),
        ("a = 1\nmodel = \n", 2, None, "not valid TOML: Invalid value (column 9)"),
        ("x = [1,\n", 1, None, "before the end of the file"),
        ("a = 1\na = 2", 2, None, "Cannot overwrite a value"),
    ],
)
def test_errors_name_file_line_and_key(file: Path, text: str, line: int, key: str | None, what: str) -> None:
    file.write_text(text, newline="")
    with pytest.raises(ConfigFileError) as raised:
        load_config(file)
    error = raised.value
    assert (error.file, error.line, error.key) == (file, line, key)
    assert what in error.what
    assert str(error).startswith(f"{file}, line {line}: ")


def test_the_names_of_strategies_are_those_of_the_memory() -> None:
    assert tuple(STRATEGIES) == STRATEGY_NAMES


@pytest.mark.parametrize(
    "text",
    ["x = " + "[" * 50_000, "x = " + "{a=" * 50_000, "x = " + "9" * 5000],
    ids=["lists", "tables", "digits"],
)
def test_what_no_parser_can_hold_is_one_clear_error(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigFileError) as raised:
        load_config(file)
    assert str(raised.value).startswith(f"{file}: ")
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("deep", ["[{}]", "{{a={}}}"], ids=["lists", "tables"])
@pytest.mark.parametrize("start", ["nope = ", "nope = 1\nmodel = ", "[engine]\nmax_sessions = 0\nx = "])
def test_values_at_the_parsers_limit_are_an_error_of_the_file(file: Path, start: str, deep: str) -> None:
    """At a depth that depends on the stack, a value parses once but not again from a deeper call."""

    def refusal(depth: int) -> ConfigFileError:
        left, right = deep.format(" ").split(" ")
        file.write_text(start + left * depth + "1" + right * depth)
        with pytest.raises(ConfigFileError) as raised:
            load_config(file)
        return raised.value

    parsed, refused = 1, 2000
    assert "too deeply" in refusal(refused).what
    while refused - parsed > 1:
        middle = (parsed + refused) // 2
        if refusal(middle).what == "Its values are nested too deeply.":
            refused = middle
        else:
            parsed = middle
    for depth in range(parsed - 40, parsed + 5):
        refusal(depth)


@pytest.mark.parametrize(
    "key", ["model", "theme", "sampling.temperature", "sampling.seed", "engine.context_tokens", "nope"]
)
def test_a_number_too_long_to_be_shown_is_an_error_of_the_file(file: Path, key: str) -> None:
    file.write_text(f"{key} = 0x{'f' * 5000}")
    with pytest.raises(ConfigFileError) as raised:
        load_config(file)
    assert str(raised.value).startswith(str(file))
    assert len(str(raised.value)) < 300 + len(str(file))


def test_a_byte_order_mark_is_no_error(file: Path) -> None:
    file.write_text('\ufeffmodel = "a"', encoding="utf-8")
    assert load_config(file).model == "a"


def test_a_file_in_another_encoding(file: Path) -> None:
    file.write_bytes(b'model = "a"\ntheme = "gr\xfcn"')
    with pytest.raises(ConfigFileError, match=r"line 2: The file is not UTF-8 text"):
        load_config(file)


def test_a_folder_in_its_place(file: Path) -> None:
    file.mkdir()
    with pytest.raises(ConfigFileError, match=r"cannot be read \(Is a directory\)"):
        load_config(file)
