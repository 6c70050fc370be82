"""SQL as tokens: comments are gone, and what a string says can't be taken for what the statement does."""
import re

#: Kinds: WORD (in capitals), NAME (quoted), STRING (its content), SIGN.
WORD, NAME, STRING, SIGN = "word", "name", "string", "sign"

TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*)
    |(?P<comment>/\*)
    |(?P<escaped>[eE]'(?:[^'\\]+|\\.|'')*'?)
    |(?P<string>(?:[uU]&|[bBxXnN])?'(?:[^']+|'')*'?)
    |(?P<name>(?:[uU]&)?"(?:[^"]+|"")*"?)
    |(?P<dollar>\$(?:[^\W\d]\w*)?\$)
    |(?P<word>[^\W\d][\w$]*)
    |(?P<number>\d[\w.]*)
    |(?P<sign>.)""",
    re.VERBOSE | re.DOTALL,
)
COMMENT_EDGE = re.compile(r"/\*|\*/")
UNICODE = re.compile(r"\\(?:\+([0-9a-fA-F]{6})|([0-9a-fA-F]{4}))")


def tokens(sql):
    """As (kind, text) pairs. What is not closed ends with the text."""
    found, at = [], 0
    while at < len(sql):
        match = TOKEN.match(sql, at)
        kind, text, at = match.lastgroup, match.group(), match.end()
        if kind == "comment":
            at = _after_comment(sql, at)
        elif kind == "dollar":
            end = sql.find(text, at)
            end = len(sql) if end < 0 else end
            found.append((STRING, sql[at:end]))
            at = end + len(text)
        elif kind == "escaped":
            found.append((STRING, _unescaped(_unquoted(text[1:], "'"))))
        elif kind == "string":
            start = text.index("'")
            found.append((STRING, _unicode(_unquoted(text[start:], "'"), text)))
        elif kind == "name":
            start = text.index('"')
            found.append((NAME, _unicode(_unquoted(text[start:], '"'), text)))
        elif kind == "word":
            found.append((WORD, text.upper()))
        elif kind != "space":
            found.append((SIGN, text))
    return found


def _after_comment(sql, at):
    """Comments nest."""
    depth = 1
    while depth:
        edge = COMMENT_EDGE.search(sql, at)
        if edge is None:
            return len(sql)
        depth += 1 if edge.group() == "/*" else -1
        at = edge.end()
    return at


def _unquoted(text, quote):
    closed = len(text) > 1 and text.endswith(quote)
    return text[1:-1 if closed else None].replace(quote * 2, quote)


def _unescaped(text):
    text = re.sub(r"\\x([0-9a-fA-F]{1,2})", lambda m: chr(int(m.group(1), 16)), text)
    text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m.group(1), 16)), text)
    return re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t", "r": "\r"}.get(m.group(1), m.group(1)), text, flags=re.DOTALL)


def _unicode(text, whole):
    if whole[:2] not in ("U&", "u&"):
        return text
    return UNICODE.sub(lambda m: chr(int(m.group(1) or m.group(2), 16)), text)
