"""The documentation: pages generated from the code, and the folder from which the site is built.

One module for each page, a function that returns Markdown. Begin with `pages`, which lists them; `site` puts the whole
folder together for `make docs`.
"""
