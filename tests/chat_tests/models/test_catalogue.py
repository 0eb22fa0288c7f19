from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from engine.errors import ModelNotFound
from stevemin_chat.base import ConfigFileError
from stevemin_chat.base.config import EngineSection
from stevemin_chat.models.catalogue import Catalogue, ModelSpec, hub_file, is_installed, model_file

SHIPPED = Path(__file__).parents[3] / "models.toml"
STARTER = "smollm2-135m"

Load = Callable[[str], Catalogue]


@pytest.fixture(scope="module")
def shipped() -> Catalogue:
    return Catalogue.load(SHIPPED)


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads the shipped catalogue overlaid with the given text."""

    def overlay(text: str) -> Catalogue:
        user = tmp_path / "models.toml"
        user.write_text(text)
        return Catalogue.load(SHIPPED, user)

    return overlay


def put(models_dir: Path, repo: str, file: str) -> Path:
    path = hub_file(repo, file, models_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"GGUF")
    return path


class TestShipped:
    def test_every_field_is_filled(self, shipped: Catalogue) -> None:
        assert len(shipped) >= 13
        for spec in shipped:
            optional = {"repo", "package", "path", "sha256", "gated", "reasoning_marks", "tool_format"}
            empty = [k for k, v in spec.model_dump(exclude=optional).items() if v in (None, "")]
            assert not empty, spec.name

    def test_the_starter_is_first_and_installed(
        self, shipped: Catalogue, starter_model: Path, tmp_path: Path
    ) -> None:
        assert next(iter(shipped)).name == STARTER
        assert is_installed(shipped.get(STARTER), tmp_path)
        assert shipped.resolve(STARTER, tmp_path) == starter_model
        assert starter_model.stat().st_size == shipped.get(STARTER).size_bytes

    def test_hub_models_are_single_files_and_need_more_than_their_weights(self, shipped: Catalogue) -> None:
        for spec in shipped:
            assert spec.size_bytes is not None
            assert spec.vram_gib is not None
            assert 0.05 < spec.vram_gib - spec.size_bytes / 2**30 < 4
            assert spec.package or spec.repo
            assert not re.search(r"-\d{5}-of-\d{5}", spec.file or "")

    def test_from_small_to_workstation(self, shipped: Catalogue) -> None:
        sizes = [spec.size_bytes or 0 for spec in shipped]
        assert sizes == sorted(sizes)
        assert sizes[0] < 1e9 < 40e9 < sizes[-1]


class TestOverlay:
    def test_no_file_of_the_users(self, tmp_path: Path, shipped: Catalogue) -> None:
        assert list(Catalogue.load(SHIPPED, tmp_path / "none.toml")) == list(shipped)

    def test_an_empty_file(self, load: Load, shipped: Catalogue) -> None:
        assert list(load("")) == list(shipped)

    def test_a_new_model(self, load: Load, tmp_path: Path) -> None:
        catalogue = load('[models.mine]\npath = "sub/mine.gguf"')
        assert catalogue.get("mine") == ModelSpec(name="mine", path=tmp_path / "sub/mine.gguf")
        assert catalogue.get("mine").label == "mine"

    def test_the_users_fields_win_and_the_others_stay(self, load: Load, shipped: Catalogue) -> None:
        changed = load(f'[models.{STARTER}]\ntitle = "Tiny"').get(STARTER)
        assert changed == shipped.get(STARTER).model_copy(update={"title": "Tiny"})

    def test_a_path_of_the_users_wins_over_the_package(self, load: Load, tmp_path: Path) -> None:
        file = tmp_path / "other.gguf"
        file.write_bytes(b"GGUF")
        assert load(f'[models.{STARTER}]\npath = "{file}"').resolve(STARTER, tmp_path) == file

    def test_the_home_folder(self, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        assert load('[models.mine]\npath = "~/mine.gguf"').get("mine").path == tmp_path / "mine.gguf"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[models.a]\n[b", r"not valid TOML: Expected '\]'"),
        ("[model.a]\npath = 'a.gguf'", r"line 1: model: There is no such setting; models are tables"),
        ("models = 3", r"line 1: models: It must be a table"),
        ("[models]\na = 3", r"line 2: models\.a: It must be a table"),
        ("[models.a]", r"line 1: models\.a: Give a path, or a file together with"),
        ("[models.a]\nfile = 'a.gguf'", r"models\.a: Give a path"),
        ("[models.a]\npath = 'a.gguf'\nname = 'b'", r"models\.a\.name"),
        ("[models.a]\npath = 'a.gguf'\ncolour = 'red'", r"line 3: models\.a\.colour: Extra inputs"),
        ("[models.a]\npath = 'a.gguf'\ncontext_length = 'long'", r"models\.a\.context_length: .*integer"),
        ("[models.a]\npath = 'a.gguf'\ncontext_length = 0", r"models\.a\.context_length: .*greater"),
        ("[models.a]\npath = 'a.gguf'\nvram_gib = -1.0", r"models\.a\.vram_gib"),
        (f"[models.a]\npath = 'a.gguf'\nsize_bytes = 0x{'f' * 10_000}", r"models\.a\.size_bytes"),
        ("[models.a]\npath = 'a.gguf'\nvram_gib = 1e400", r"models\.a\.vram_gib"),
        ("[models.a]\npath = 'a.gguf'\nsha256 = 'abc'", r"models\.a\.sha256"),
        ("[models.a]\nrepo = 'x'\nfile = 'a.gguf'", r"models\.a\.repo"),
        ("[models.a]\nrepo = '../x'\nfile = 'a.gguf'", r"models\.a\.repo"),
        ("[models.a]\nrepo = 'o/x'\nfile = 'a.bin'", r"models\.a\.file: A file is a relative path"),
        ("[models.a]\nrepo = 'o/x'\nfile = '../../a.gguf'", r"models\.a\.file"),
        ("[models.a]\nrepo = 'o/x'\nfile = '/etc/a.gguf'", r"models\.a\.file"),
        ("[models.a]\nrepo = 'o/x'\nfile = 'C:a.gguf'", r"models\.a\.file"),
        ("[models.a]\nrepo = 'o/x'\nfile = \"a\\u009b.gguf\"", r"models\.a\.file"),
        ("[models.a]\npackage = 'a.b'\nfile = 'a.gguf'", r"models\.a\.package"),
        ("[models.a]\nx = " + "[" * 50_000, "nested too deeply"),
    ],
    ids=itertools.count(),
)
def test_a_bad_catalogue_names_file_and_key(load: Load, tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigFileError, match=words) as caught:
        load(text)
    assert str(tmp_path / "models.toml") in str(caught.value)
    assert str(caught.value).endswith(".")


def test_an_unreadable_catalogue(tmp_path: Path) -> None:
    with pytest.raises(ConfigFileError, match=r"missing\.toml: The model catalogue is missing"):
        Catalogue.load(tmp_path / "missing.toml")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigFileError, match="not UTF-8"):
        Catalogue.load(SHIPPED, binary)


def test_specs_are_frozen(shipped: Catalogue) -> None:
    with pytest.raises(ValidationError):
        shipped.get(STARTER).title = "other"


class TestNames:
    def test_unknown_suggests_the_nearest(self, shipped: Catalogue) -> None:
        with pytest.raises(ModelNotFound, match=r"'lama-3\.2-3b'\. Did you mean llama-3\.2-3b\?"):
            shipped.get("lama-3.2-3b")

    def test_far_off_names_get_the_list_only(self, shipped: Catalogue) -> None:
        with pytest.raises(ModelNotFound) as caught:
            shipped.get("zzzzzz")
        assert "Did you mean" not in str(caught.value)
        assert "stevemin models list" in str(caught.value)

    def test_case_does_not_matter(self, shipped: Catalogue) -> None:
        assert shipped.get("SmolLM2-135M").name == STARTER

    @pytest.mark.parametrize("name", ["", " ", "a\0b", "x" * 5000, "engine", "~nobody-of-that-name"])
    def test_nonsense_is_not_found(self, shipped: Catalogue, tmp_path: Path, name: str) -> None:
        with pytest.raises(ModelNotFound):
            shipped.resolve(name, tmp_path)


class TestResolve:
    def test_known_but_not_downloaded(self, shipped: Catalogue, tmp_path: Path) -> None:
        with pytest.raises(ModelNotFound, match=r"\(2\.3 GiB\)\. Run: stevemin models pull qwen3-4b$"):
            shipped.resolve("qwen3-4b", tmp_path)
        assert not is_installed(shipped.get("qwen3-4b"), tmp_path)

    def test_downloaded(self, shipped: Catalogue, tmp_path: Path) -> None:
        spec = shipped.get("qwen3-4b")
        assert spec.repo is not None
        assert spec.file is not None
        path = put(tmp_path, spec.repo, spec.file)
        assert shipped.resolve("qwen3-4b", tmp_path) == path == model_file(spec, tmp_path)
        assert shipped.resolve(f"{spec.repo}:{spec.file}", tmp_path) == path
        assert shipped.resolve(spec.repo, tmp_path) == path

    def test_a_repo_with_several_files_asks_which(self, shipped: Catalogue, tmp_path: Path) -> None:
        put(tmp_path, "me/mine", "a.gguf")
        put(tmp_path, "me/mine", "sub/b.gguf")
        with pytest.raises(ModelNotFound, match=r"me/mine:FILE \(a\.gguf, b\.gguf\)"):
            shipped.resolve("me/mine", tmp_path)
        assert shipped.resolve("me/mine:sub/b.gguf", tmp_path).name == "b.gguf"

    def test_a_split_model_is_its_first_part(self, shipped: Catalogue, tmp_path: Path) -> None:
        for part in (1, 2, 3):
            put(tmp_path, "me/big", f"q4/big-0000{part}-of-00003.gguf")
        assert shipped.resolve("me/big", tmp_path).name == "big-00001-of-00003.gguf"

    @pytest.mark.parametrize("name", ["me/mine", "me/mine:a.gguf"])
    def test_not_pulled(self, shipped: Catalogue, tmp_path: Path, name: str) -> None:
        with pytest.raises(ModelNotFound, match=rf"Run: stevemin models pull {name}$"):
            shipped.resolve(name, tmp_path)

    @pytest.mark.parametrize(
        "name", ["../..:secret.gguf", "me/..:secret.gguf", "me/mine:../../../secret.gguf"]
    )
    def test_a_name_cannot_leave_the_models_folder(
        self, shipped: Catalogue, tmp_path: Path, name: str
    ) -> None:
        (tmp_path / "secret.gguf").write_bytes(b"GGUF")
        (tmp_path / "models" / "me" / "mine").mkdir(parents=True)
        with pytest.raises(ModelNotFound):
            shipped.resolve(name, tmp_path / "models")

    def test_a_path(self, shipped: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / "my model.gguf"
        file.write_bytes(b"GGUF")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))
        for name in (str(file), "my model.gguf", "./my model.gguf", "~/my model.gguf"):
            assert shipped.resolve(name, tmp_path / "models") == file

    @pytest.mark.parametrize(
        ("name", "words"),
        [("no.gguf", "No file"), (".", "is a folder"), ("x" * 300 + ".gguf", "No file")],
    )
    def test_not_a_file(self, shipped: Catalogue, tmp_path: Path, name: str, words: str) -> None:
        with pytest.raises(ModelNotFound, match=words):
            shipped.resolve(name, tmp_path)

    def test_a_missing_package(self, load: Load, tmp_path: Path) -> None:
        catalogue = load("[models.a]\npackage = 'no_such_package_here'\nfile = 'a.gguf'")
        assert model_file(catalogue.get("a"), tmp_path) is None
        with pytest.raises(ModelNotFound, match="package no_such_package_here, which is not installed"):
            catalogue.resolve("a", tmp_path)

    def test_a_path_in_the_catalogue_that_is_gone(self, load: Load, tmp_path: Path) -> None:
        with pytest.raises(ModelNotFound, match=r"The file of the model a is missing: .*gone\.gguf"):
            load("[models.a]\npath = 'gone.gguf'").resolve("a", tmp_path)


def test_how_a_model_marks_its_replies_reaches_the_engine(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text(
        '[models.mine]\npath = "m.gguf"\nreasoning_marks = ["<a>", "</a>"]\ntool_format = "hermes"\n', "utf-8"
    )
    settings = Catalogue.load(file).get("mine").engine_settings
    config = EngineSection().for_model(Path("m.gguf"), **settings)
    assert config.reasoning_marks == ("<a>", "</a>")
    assert config.tool_format == "hermes"
    file.write_text('[models.mine]\npath = "m.gguf"\nreasoning_marks = ["<a>"]\n', "utf-8")
    with pytest.raises(ConfigFileError, match="reasoning_marks"):
        Catalogue.load(file)
