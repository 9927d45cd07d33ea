from core.native.records import Records

Rows = dict[bytes, tuple[bytes | None, int]]

def keep_winners(records: Records, rows: Rows, overtaken: set[bytes]) -> int | None: ...
