"""Turn text into rows. `caststream send` and `caststream import-csv` share it, so that both accept and refuse the same.

From the bottom: `lines` (bytes into lines), `text` (a line into text), `cells`, `numbers`, `times` (text into values),
`names` and `header` (which column is which field), `table` (the rows under a header). Above them the import: `order`,
`samples`, `casts`, `signals`, and `import_csv` over all. Begin with `table`.
"""
