"""What is kept: one SQLite file, its schema, and one class for each kind of record in it.

Owns every SQL statement but those of keyword search and statistics. All its classes but `Database` work
on the database's thread: callers go through `Database.call`. Values leave the room frozen.
"""

from memory.storage.backup import Contents, back_up, inspect_backup, restore
from memory.storage.database import Database, Row, Value, now
from memory.storage.documents import Documents, KnownFile
from memory.storage.erasing import Eraser
from memory.storage.facts import Facts, fact_key
from memory.storage.messages import Transcript
from memory.storage.passages import EVERYTHING, Passages, View, view_clause
from memory.storage.readings import Readings
from memory.storage.schema import migrate
from memory.storage.sessions import Sessions
from memory.storage.state import Scopes, SearchState, SearchStates, Settings, WindowStarts
from memory.storage.summaries import Summaries, cover, says_something
from memory.storage.vectors import NO_CHAT, StoredVector, StoredVectors

__all__ = [
    "EVERYTHING",
    "NO_CHAT",
    "Contents",
    "Database",
    "Documents",
    "Eraser",
    "Facts",
    "KnownFile",
    "Passages",
    "Readings",
    "Row",
    "Scopes",
    "SearchState",
    "SearchStates",
    "Sessions",
    "Settings",
    "StoredVector",
    "StoredVectors",
    "Summaries",
    "Transcript",
    "Value",
    "View",
    "WindowStarts",
    "back_up",
    "cover",
    "fact_key",
    "inspect_backup",
    "migrate",
    "now",
    "restore",
    "says_something",
    "view_clause",
]
