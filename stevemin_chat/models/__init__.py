"""The models: the catalogue, the files on this machine, downloads from the Hugging Face Hub, the loaded one.

Owns the models folder: nothing else writes there, and no name from a hub leads out of it. Names are imported
when they are first used: the first screen needs no catalogue.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stevemin_chat.models.catalogue import Catalogue, ModelSpec, is_installed
    from stevemin_chat.models.current import CurrentModel
    from stevemin_chat.models.download import DownloadMeter
    from stevemin_chat.models.loading import ModelLoader
    from stevemin_chat.models.local import (
        HubSource,
        ListedModel,
        Removable,
        find_model,
        hub_source,
        listed_models,
        removable,
    )
    from stevemin_chat.models.pulled import Pulled, pull, remove_pulled
else:
    _LATER = {
        "catalogue": ("Catalogue", "ModelSpec", "is_installed"),
        "current": ("CurrentModel",),
        "download": ("DownloadMeter",),
        "loading": ("ModelLoader",),
        "local": (
            "HubSource",
            "ListedModel",
            "Removable",
            "find_model",
            "hub_source",
            "listed_models",
            "removable",
        ),
        "pulled": ("Pulled", "pull", "remove_pulled"),
    }

    def __getattr__(name: str) -> object:
        for module, names in _LATER.items():
            if name in names:
                return getattr(import_module(f"{__name__}.{module}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Catalogue",
    "CurrentModel",
    "DownloadMeter",
    "HubSource",
    "ListedModel",
    "ModelLoader",
    "ModelSpec",
    "Pulled",
    "Removable",
    "find_model",
    "hub_source",
    "is_installed",
    "listed_models",
    "pull",
    "removable",
    "remove_pulled",
]
