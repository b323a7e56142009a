"""SQL adapters behind `ports.store`, the key custody and the data folder.

Owns the schema (`migrations`, numbered, one folder for each database), the stored form of every record (`codec`), the two stores
(`sqlite`, `postgres`), sealing at rest (`custody`) and the folder on disk (`datafolder`). Owns no rule about what a record means:
collections, keys and columns are declared in `ports.collections`.

A commit flows: `plan` encodes the batch on the event loop and refuses what cannot be stored; the adapter applies it in one
transaction with its version checks, using the SQL that `tables` built once; the feed rows go in with it; listeners hear of it;
then the committer's `await` returns.
"""
