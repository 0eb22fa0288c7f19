"""`stevemin models`: list, look up, download, remove."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from stevemin_chat.cli.options import Json, Yes
from stevemin_chat.cli.output import confirm, note, print_json, print_table, progress_line

if TYPE_CHECKING:
    from stevemin_chat.base import Paths
    from stevemin_chat.models import Catalogue

__all__ = ["app"]

app = typer.Typer(help="Models: list, look up, download, remove.")

Name = Annotated[str, typer.Argument(help="A catalogue name, or OWNER/REPO[:FILE].")]


def _catalogue() -> tuple[Paths, Catalogue]:
    from stevemin_chat.base import begin, builtin_catalogue_path
    from stevemin_chat.models import Catalogue

    paths, _config = begin()
    return paths, Catalogue.load(builtin_catalogue_path(), paths.user_catalogue)


@app.command("list")
def list_models(as_json: Json = False) -> None:
    """List the catalogue and every other model that was pulled."""
    from stevemin_chat.models import listed_models

    paths, catalogue = _catalogue()
    found = listed_models(catalogue, paths.models_dir)
    if as_json:
        print_json([model.to_json() for model in found])
        return
    print_table(("NAME", "SIZE", "VRAM", "CONTEXT", "LICENCE", "HERE"), [model.row() for model in found])


@app.command()
def info(name: Name, as_json: Json = False) -> None:
    """Show everything known about a model."""
    from stevemin_chat.models import find_model

    paths, catalogue = _catalogue()
    model = find_model(name, catalogue, paths.models_dir)
    if as_json:
        print_json(model.to_json())
    else:
        print_table(("MODEL", model.id), [(key, value) for key, value in model.facts() if value])


@app.command()
def pull(name: Name, as_json: Json = False) -> None:
    """Download a model; an interrupted download resumes."""
    from stevemin_chat.models import DownloadMeter, hub_source
    from stevemin_chat.models import pull as fetch
    from stevemin_chat.text import size

    paths, catalogue = _catalogue()
    source = hub_source(name, catalogue, paths.models_dir)
    if source.path is not None:
        note(f"{name} is here already: {source.path}")
        if as_json:
            print_json({"id": name, "path": source.path, "size_bytes": source.path.stat().st_size})
        return
    with progress_line(f"Pulling {name}") as line:
        meter = DownloadMeter(line.show)
        pulled = fetch(source.spec, paths.models_dir, sha256=source.sha256, on_progress=meter.update)
    note(f"{name}: {size(pulled.size_bytes)} in {pulled.path}")
    if as_json:
        print_json({"id": pulled.name, "path": pulled.path, "size_bytes": pulled.size_bytes})


@app.command()
def remove(name: Name, yes: Yes = False, as_json: Json = False) -> None:
    """Delete a downloaded model."""
    from stevemin_chat.models import removable, remove_pulled
    from stevemin_chat.text import size

    paths, catalogue = _catalogue()
    target = removable(name, catalogue, paths.models_dir)
    confirm(f"Delete {name} ({size(target.size_bytes)}, {target.path})?", yes=yes)
    removed = remove_pulled(target.path, paths.models_dir)
    if as_json:
        print_json({"id": name, "removed": removed})
    else:
        note(f"Deleted {name}.")
