from core.native.records import Records

ChangelogRows = dict[bytes, tuple[bytes | None, int]]

def keep_winners(records: Records, rows: ChangelogRows, overtaken: set[bytes]) -> int | None: ...
