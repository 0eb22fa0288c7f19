"""`stevemin models`: what there is, what is here, fetch and remove."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from stevemin_chat.cli.output import confirm, note, print_json, print_table, progress_line

if TYPE_CHECKING:
    from stevemin_chat.base import Paths
    from stevemin_chat.models import Catalogue

__all__ = ["app"]

app = typer.Typer(help="Models: list, look up, download, remove.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Name = Annotated[str, typer.Argument(help="A name of the catalogue, or OWNER/REPO[:FILE].")]


def _catalogue() -> tuple[Paths, Catalogue]:
    from stevemin_chat.base import begin, builtin_catalogue_path
    from stevemin_chat.models import Catalogue

    paths, _config = begin()
    return paths, Catalogue.load(builtin_catalogue_path(), paths.user_catalogue)


@app.command("list")
def list_models(as_json: Json = False) -> None:
    """The catalogue, and every other model that was pulled."""
    from stevemin_chat.models import listed_models

    paths, catalogue = _catalogue()
    found = listed_models(catalogue, paths.models_dir)
    if as_json:
        print_json([entry.to_json() for entry in found])
        return
    print_table(("NAME", "SIZE", "VRAM", "CONTEXT", "LICENCE", "HERE"), [entry.row() for entry in found])


@app.command()
def info(name: Name, as_json: Json = False) -> None:
    """Everything known of one model."""
    from stevemin_chat.models import find_model

    paths, catalogue = _catalogue()
    entry = find_model(name, catalogue, paths.models_dir)
    if as_json:
        print_json(entry.to_json())
    else:
        print_table(("MODEL", entry.id), [(key, value) for key, value in entry.facts() if value])


@app.command()
def pull(name: Name, as_json: Json = False) -> None:
    """Download a model. Interrupted, it goes on from there the next time."""
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
        note(f"{name}: deleted.")
