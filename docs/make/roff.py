"""Markdown to the roff of man pages, as much of it as these pages use.

Headings (`#` is the page's name, section and purpose), paragraphs, lists, definitions (`: ` after the term), code
between fences, `code`, *variable*, **strong**, links, a backslash that breaks a line. All else stays as it is.
"""

import re
from collections.abc import Iterator
from textwrap import wrap

MANUAL = "gearstore manual"
INLINE = re.compile(r"\\(.)|`([^`]+)`|\*\*(.+?)\*\*|\*([^\s*][^*]*)\*|\[([^\]]+)\]\([^)]+\)")
# Copied from a terminal these must be the characters of the keyboard.
CODE = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}
TEXT = {"\\": r"\e", "^": r"\(ha", "~": r"\(ti"}


def page(markdown: str, date: str, source: str) -> str:
    """Return the man page of a text whose first line is `# NAME(SECTION): PURPOSE`."""
    title, _, rest = markdown.partition("\n")
    found = re.fullmatch(r"# (\S+)\((\d)\): (.+)", title)
    if found is None:
        raise ValueError(f"{title!r} is not like '# name(1): what it is for'")
    name, section, purpose = found.groups()
    lines = [
        f'.TH {code(name.upper())} {section} "{date}" "{source}" "{MANUAL}"',
        ".nh",  # words such as gearstore-jobs stay whole
        ".nr HY 0",
        ".ad l",
        ".SH NAME",
        rf"{code(name)} \- {text(purpose)}",
        *blocks(rest),
    ]
    return "\n".join(lines) + "\n"


def blocks(markdown: str) -> Iterator[str]:
    """Yield the lines of roff for a text."""
    pieces = re.split(r"^```\n(.*?)^```\n", markdown, flags=re.MULTILINE | re.DOTALL)
    for number, piece in enumerate(pieces):
        if number % 2:
            yield from example(piece)
            continue
        fresh = number == 0  # after a heading the first paragraph needs no .PP
        for block in re.split(r"\n\s*\n", piece.strip("\n")):
            if block.strip():
                yield from one_block(block.splitlines(), fresh)
                fresh = block.startswith("#")


def example(piece: str) -> Iterator[str]:
    """Yield lines that stay as they are, indented."""
    yield from (".RS 4", ".EX")
    yield from (guarded(code(line)) for line in piece.splitlines())
    yield from (".EE", ".RE")


def one_block(lines: list[str], fresh: bool) -> Iterator[str]:
    """Yield a heading, a list, a definition or a paragraph."""
    if lines[0].startswith("## "):
        yield f".SH {text(lines[0][3:].upper())}"
    elif lines[0].startswith("### "):
        yield f".SS {inline(lines[0][4:])}"
    elif lines[0].startswith("- "):
        for item in "\n".join(lines).removeprefix("- ").split("\n- "):
            yield r".IP \(bu 2"
            yield flow(item.splitlines())
    elif len(lines) > 1 and lines[1].startswith(": "):
        yield ".TP"
        yield guarded(inline(lines[0]))
        yield flow([lines[1][2:], *lines[2:]])
    else:
        if not fresh:
            yield ".PP"
        yield flow(lines)


def flow(lines: list[str]) -> str:
    """Return running text; each line that ends in a backslash is one."""
    broken = "\n".join(line.strip() for line in lines).split("\\\n")
    return "\n.br\n".join(sentences(part.replace("\n", " ")) for part in broken)


def sentences(running: str) -> str:
    """Return running text as roff, which knows by the end of a line where a sentence ends; long ones are folded."""
    found = re.split(r"(?<=[.?!]) (?=[A-Z\\])", inline(running))
    lines = [line for sentence in found for line in wrap(sentence, 80, break_long_words=False, break_on_hyphens=False)]
    return "\n".join(map(guarded, lines))


def guarded(line: str) -> str:
    """Return a line that can't be taken for a request."""
    return rf"\&{line}" if line.startswith((".", "'")) else line


def inline(markdown: str) -> str:
    """Return running text with its fonts."""
    return "".join(spans(markdown))


def spans(markdown: str) -> Iterator[str]:
    """Yield the pieces of running text."""
    end = 0
    for found in INLINE.finditer(markdown):
        yield text(markdown[end : found.start()])
        end = found.end()
        literal, mono, strong, variable, link = found.groups()
        if literal:
            yield text(literal)
        elif mono or strong:
            yield rf"\fB{code(mono) if mono else text(strong)}\fR"
        else:
            yield rf"\fI{text(variable)}\fR" if variable else inline(link)
    yield text(markdown[end:])


def text(plain: str) -> str:
    """Return text in which no character means anything to roff."""
    return "".join(TEXT.get(letter, letter) for letter in plain)


def code(plain: str) -> str:
    """Return text that can be copied from the page and typed."""
    return "".join(CODE.get(letter, letter) for letter in plain)
