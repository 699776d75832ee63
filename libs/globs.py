"""Translation of path globs to regular expressions that both Python and RE2 accept."""

import re

TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|\{[^{}]*\}|.", re.DOTALL)


def glob_to_regex(glob: str) -> str:
    """Translate a path glob to a regular expression.

    `*` and `?` match within a folder, `**` across folders, `**/` any number of folders, `[...]` a character of a set,
    and `{a,b}` one of the alternatives.
    """
    return "".join(map(_translate, TOKEN.findall(glob)))


def _translate(piece: str) -> str:
    match piece:
        case "**/":
            return "(?:.*/)?"
        case "**":
            return ".*"
        case "*":
            return "[^/]*"
        case "?":
            return "[^/]"
        case _ if len(piece) > 2 and piece[0] == "[":
            inside = piece[1:-1].replace("\\", r"\\").replace("[", r"\[").replace("]", r"\]")
            return f"[{'^' + inside[1:] if inside[0] == '!' else inside}]"
        case _ if len(piece) > 1 and piece[0] == "{":
            return f"(?:{'|'.join(map(glob_to_regex, piece[1:-1].split(',')))})"
        case _:
            return re.escape(piece)
