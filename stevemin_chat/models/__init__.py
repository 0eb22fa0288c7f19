"""The models: the catalogue, the files on this machine, downloads from the Hugging Face Hub, the loaded one.

Owns the models folder: nothing else writes there, and no name from a hub leads out of it. Names are imported
when they are first used: the first screen needs no catalogue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stevemin_chat.doors import lazy

if TYPE_CHECKING:
    from stevemin_chat.models.catalogue import Catalogue, ModelSpec, is_installed, vram_words
    from stevemin_chat.models.current import CurrentModel
    from stevemin_chat.models.download import DownloadMeter
    from stevemin_chat.models.embedders import (
        configured_embedder,
        configured_reranker,
        embedder_label,
        reopened_embedder,
    )
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
    __getattr__ = lazy(
        __name__,
        {
            "catalogue": "Catalogue ModelSpec is_installed vram_words",
            "current": "CurrentModel",
            "download": "DownloadMeter",
            "embedders": "configured_embedder configured_reranker embedder_label reopened_embedder",
            "loading": "ModelLoader",
            "local": "HubSource ListedModel Removable find_model hub_source listed_models removable",
            "pulled": "Pulled pull remove_pulled",
        },
    )

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
    "configured_embedder",
    "configured_reranker",
    "embedder_label",
    "find_model",
    "hub_source",
    "is_installed",
    "listed_models",
    "pull",
    "removable",
    "remove_pulled",
    "reopened_embedder",
    "vram_words",
]
