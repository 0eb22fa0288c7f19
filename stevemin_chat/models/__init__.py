"""The models: the catalogue, the files on this machine, and downloads from the Hugging Face Hub.

Owns the models folder: nothing else writes there, and no name from a hub leads out of it.
"""

from __future__ import annotations

from stevemin_chat.models.catalogue import Catalogue, ModelSpec, is_installed
from stevemin_chat.models.download import DownloadMeter
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

__all__ = [
    "Catalogue",
    "DownloadMeter",
    "HubSource",
    "ListedModel",
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
