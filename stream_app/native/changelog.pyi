from core.native.records import Records

TableRows = dict[bytes, tuple[bytes | None, int]]

def keep_winners(records: Records, rows: TableRows, overtaken: set[bytes]) -> int | None: ...
