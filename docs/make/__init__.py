"""Makes the man pages and the shell completions from what the command line itself declares (`make docs`).

    commands.py  the commands and their options, as plain data
    pages.py     the man pages in Markdown: woven from text/*.md and the data
    roff.py      Markdown to roff
    bash.py, zsh.py, fish.py  the completions

What is made stands in docs/man and completions, and is committed; tests/docs compares.
"""
