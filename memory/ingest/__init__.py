"""What enters the store and long-term memory, and what leaves them again.

Owns the transactions that span several kinds of record (a message with its passages and facts, a deleted
session with all its traces), the extraction of facts from what the user writes, and the format of exports.
"""

from memory.ingest.import_file import read_document
from memory.ingest.ingest import Ingest

__all__ = ["Ingest", "read_document"]
