"""Text by Specific Character Set (0008,0005): PS3.3 C.12.1.1.2 for the names, PS3.5 6.1 for the rules.

Python's codecs hold the tables. What stands here is what they do not know: which name means which table, and code
extensions (ISO 2022): an escape sequence puts a set into G0 (bytes below 80H) or G1 (bytes from 80H), and a delimiter
puts the first set back (6.1.2.5.3). Text is decoded whole and split into values afterwards, because in GB18030, GBK and
Shift-JIS the second byte of a character may be 5CH, the backslash.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

from dicore.errors import CharacterSetError

__all__ = ["Charset", "charset_for", "decode_text", "encode_text"]

# PS3.3 tables C.12-2 (without code extensions), C.12-3 and C.12-4 (with), C.12-5 (multi-byte, without).
# Undeclared bytes from 80H in the default repertoire are read as Latin-1, which loses nothing.
CODECS: dict[str, str] = {
    "": "latin_1", "ISO_IR 6": "latin_1", "ISO 2022 IR 6": "latin_1",
    "ISO_IR 100": "latin_1", "ISO 2022 IR 100": "latin_1",
    "ISO_IR 101": "iso8859_2", "ISO 2022 IR 101": "iso8859_2",
    "ISO_IR 109": "iso8859_3", "ISO 2022 IR 109": "iso8859_3",
    "ISO_IR 110": "iso8859_4", "ISO 2022 IR 110": "iso8859_4",
    "ISO_IR 144": "iso8859_5", "ISO 2022 IR 144": "iso8859_5",
    "ISO_IR 127": "iso8859_6", "ISO 2022 IR 127": "iso8859_6",
    "ISO_IR 126": "iso8859_7", "ISO 2022 IR 126": "iso8859_7",
    "ISO_IR 138": "iso8859_8", "ISO 2022 IR 138": "iso8859_8",
    "ISO_IR 148": "iso8859_9", "ISO 2022 IR 148": "iso8859_9",
    "ISO_IR 203": "iso8859_15", "ISO 2022 IR 203": "iso8859_15",
    "ISO_IR 166": "tis_620", "ISO 2022 IR 166": "tis_620",
    "ISO_IR 13": "shift_jis", "ISO 2022 IR 13": "shift_jis",
    "ISO 2022 IR 87": "iso2022_jp", "ISO 2022 IR 159": "iso2022_jp_2",
    "ISO 2022 IR 149": "euc_kr",
    "ISO 2022 IR 58": "gb2312", "ISO 2022 58": "gb2312", "ISO 2022 GBK": "gbk",
    "ISO_IR 192": "utf_8", "GB18030": "gb18030", "GBK": "gbk",
}  # fmt: skip
STANDALONE = frozenset({"ISO_IR 192", "GB18030", "GBK"})  # PS3.5 6.1.2.5.4: never with code extensions
DEFAULT = frozenset({"", "ISO_IR 6", "ISO 2022 IR 6"})

# What follows ESC: (G0 or G1, codec). PS3.3 tables C.12-3 and C.12-4.
ESCAPES: dict[bytes, tuple[int, str]] = {
    b"(B": (0, "ascii"), b"(J": (0, "ascii"),  # ISO-IR 14 is ASCII but for yen and overline; 5CH stays the delimiter
    b")I": (1, "katakana"),
    b"-A": (1, "latin_1"), b"-B": (1, "iso8859_2"), b"-C": (1, "iso8859_3"), b"-D": (1, "iso8859_4"),
    b"-L": (1, "iso8859_5"), b"-G": (1, "iso8859_6"), b"-F": (1, "iso8859_7"), b"-H": (1, "iso8859_8"),
    b"-M": (1, "iso8859_9"), b"-b": (1, "iso8859_15"), b"-T": (1, "tis_620"),
    b"$B": (0, "jisx0208"), b"$@": (0, "jisx0208"), b"$(D": (0, "jisx0212"),
    b"$)C": (1, "euc_kr"), b"$)A": (1, "gb2312"),
}  # fmt: skip
_DECLARED_BY = {  # the escape's codec: the name that has to be declared for it
    "katakana": "13", "jisx0208": "87", "jisx0212": "159", "euc_kr": "149", "gb2312": "58", "tis_620": "166",
    "latin_1": "100", "iso8859_2": "101", "iso8859_3": "109", "iso8859_4": "110", "iso8859_5": "144",
    "iso8859_6": "127", "iso8859_7": "126", "iso8859_8": "138", "iso8859_9": "148", "iso8859_15": "203",
}  # fmt: skip
_ESCAPE_OF = {codec: b"\x1b" + escape for escape, (slot, codec) in ESCAPES.items() if slot == 1}
# The first value of (0008,0005) when it has an extended name: what stands in G1 before any escape sequence.
_FIRST_G1 = {"shift_jis": "katakana", "iso2022_jp": "latin_1", "iso2022_jp_2": "latin_1"}

_ESCAPE = re.compile(rb"\x1b(\$[()][@-~]|\$[@-~]|[(-/][@-~])")
_RESETS = b"\t\n\x0c\r"  # PS3.5 6.1.2.5.3: and the backslash between values, and ^ and = in a PN
_OTHER_NAMES = {"UTF8": "ISO_IR 192", "UTF 8": "ISO_IR 192", "LATIN1": "ISO_IR 100", "LATIN 1": "ISO_IR 100",
                "ASCII": "ISO_IR 6", "US ASCII": "ISO_IR 6", "GB 18030": "GB18030"}  # fmt: skip
_PARTS = {1: 100, 2: 101, 3: 109, 4: 110, 5: 144, 6: 127, 7: 126, 8: 138, 9: 148, 11: 166, 15: 203}
_LATIN = {f"ISO 8859 {part}": f"ISO_IR {ir}" for part, ir in _PARTS.items()}


def _repaired(name: str) -> str | None:
    """The defined term that a misspelt one stands for ("ISO-IR 100", "ISO 2022-IR-87", "UTF-8"), else None."""
    plain = re.sub(r"[\s_-]+", " ", name).strip().upper()
    if match := re.fullmatch(r"ISO ?IR ?(\d+)", plain):
        term = f"ISO_IR {match[1]}"
    elif match := re.fullmatch(r"ISO ?2022 ?IR ?(\d+)", plain):
        term = f"ISO 2022 IR {match[1]}"
    else:
        term = _OTHER_NAMES.get(plain) or _LATIN.get(plain.replace("ISO8859", "ISO 8859"), plain)
    return term if term in CODECS else None


class Decoded(NamedTuple):
    """Text, and what was wrong with the bytes (None: nothing)."""

    text: str
    problem: str | None


class Charset:
    """What a value of (0008,0005) means. Immutable; `charset_for` keeps the ones in use.

    `terms` are the defined terms in effect, `problems` what was wrong with the names themselves.
    """

    __slots__ = ("codec", "declared", "extended", "problems", "single", "terms")

    def __init__(self, names: tuple[str, ...]) -> None:
        problems: list[str] = []
        terms: list[str] = []
        for name in (part.strip(" \0") for part in names or ("",)):
            if name in CODECS:
                terms.append(name)
            elif term := _repaired(name):
                problems.append(f"Specific Character Set {name!r} read as {term!r}")
                terms.append(term)
            else:
                problems.append(f"unknown Specific Character Set {name!r}")
                if not terms:
                    terms.append("")
        if terms[0] in STANDALONE and len(terms) > 1:
            problems.append(f"{terms[0]!r} does not allow code extensions: {terms[1:]} ignored")
            terms = terms[:1]
        if any(term in STANDALONE for term in terms[1:]):
            problems.append("a set without code extensions stands behind the first: ignored")
            terms = terms[:1] + [term for term in terms[1:] if term not in STANDALONE]
        self.terms = tuple(terms)
        self.problems = tuple(problems)
        self.codec = CODECS[terms[0]]
        self.extended = terms[0] not in STANDALONE
        self.declared = frozenset(term.rpartition(" ")[2] for term in terms)
        self.single = terms[0] in DEFAULT

    def decode(self, raw: bytes, resets: bytes = b"") -> Decoded:
        """`raw` as text. `resets` are the delimiters that put the first set back, beside control characters: the
        backslash where the VR has several values, ^ and = in a PN. Never raises; bad bytes become U+FFFD."""
        if b"\x1b" in raw and self.extended:
            return self._extensions(raw, resets + _RESETS)
        if raw.isascii():
            return Decoded(raw.decode("ascii"), None)
        if self.single:
            return Decoded(raw.decode("latin_1"), "bytes above 7FH without a Specific Character Set, read as Latin-1")
        return _by_codec(raw, self.codec)

    def encode(self, text: str, resets: str = "") -> bytes:
        """`text` as bytes of these sets, so that `decode` gives it back; `resets` as there. With code extensions
        every part between delimiters takes the first set that holds all of it, else each character the first one that
        holds it. Raises UnicodeEncodeError when no set does."""
        if text.isascii():
            return text.encode("ascii")
        if len(self.terms) == 1 and not self.terms[0].startswith("ISO 2022"):
            raw = text.encode("ascii" if self.single else self.codec)
        else:
            parts = re.split(f"([{re.escape(resets)}\t\n\f\r])", text)
            raw = b"".join([self._encode_part(part) for part in parts])
        if self.decode(raw, resets.encode("ascii")).text != text:
            raise UnicodeEncodeError(self.codec, text, 0, len(text), f"not in {' '.join(filter(None, self.terms))}")
        return raw

    def _encode_part(self, part: str) -> bytes:
        if part.isascii():
            return part.encode("ascii")
        for index in range(len(self.terms)):
            raw = self._in_term(part, index)
            if raw is not None:
                return raw
        pieces = []
        for index, characters in groupby(part, self._term_of):
            run = "".join(characters)
            pieces.append(run.encode("ascii") if index < 0 else self._in_term(run, index) or b"")
        return b"".join(pieces)

    def _term_of(self, character: str) -> int:
        """The number of the first set that has a character; -1 for ASCII, which all of them have."""
        if character.isascii():
            return -1
        for index in range(len(self.terms)):
            if self._in_term(character, index) is not None:
                return index
        raise UnicodeEncodeError(
            self.codec, character, 0, 1, f"not in {' '.join(filter(None, self.terms)) or 'the default repertoire'}"
        )

    def _in_term(self, text: str, index: int) -> bytes | None:
        """`text` in one of the sets, with the escape sequence where that is not the first; None when it has not all
        of it."""
        term = self.terms[index]
        codec = CODECS[term]
        if codec == "latin_1" and term in DEFAULT:
            return None
        if codec in ("iso2022_jp", "iso2022_jp_2"):  # Python writes and takes back the escapes of JIS X 0208 and 0212
            codec, escapes = ("iso2022_jp", b"\x1b$B") if codec == "iso2022_jp" else ("iso2022_jp_1", b"\x1b$(D")
            try:
                raw = text.encode(codec)
            except UnicodeEncodeError:
                return None
            return raw if {m[0] for m in _ESCAPE.finditer(raw)} <= {escapes, b"\x1b(B"} else None
        try:
            raw = text.encode(codec)
        except UnicodeEncodeError:
            return None
        if codec == "shift_jis":
            if len(raw) != len(text):
                return None  # ISO-IR 13 has katakana of one byte only
            codec = "katakana"
        return raw if index == 0 and codec not in ("euc_kr", "gb2312") else _ESCAPE_OF[codec] + raw

    def _extensions(self, raw: bytes, resets: bytes) -> Decoded:
        """ISO 2022 as PS3.5 6.1.2.5 restricts it: G0 always in 00-7F, G1 in 80-FF, no shifts but escape sequences."""
        first = ("ascii", _FIRST_G1.get(self.codec, "latin_1" if self.single else self.codec))
        state = first
        out: list[str] = []
        problems: list[str] = []

        def put(piece: bytes) -> None:
            nonlocal state
            start = 0
            while start < len(piece):
                if state == first:
                    end = len(piece)
                elif state[0] in ("jisx0208", "jisx0212"):  # two bytes a character: only a control can be a delimiter
                    end = next((i for i in range(start, len(piece)) if piece[i] in _RESETS), len(piece))
                else:
                    end = next((i for i in range(start, len(piece)) if piece[i] in resets), len(piece))
                text, problem = _in_state(piece[start:end], *state)
                out.append(text)
                if problem:
                    problems.append(problem)
                if end < len(piece):
                    state = first
                start = end

        at = 0
        for match in _ESCAPE.finditer(raw):
            put(raw[at : match.start()])
            at = match.end()
            known = ESCAPES.get(match[1])
            if known is None:
                problems.append(f"unknown escape sequence ESC {match[1].decode('ascii')!r}")
                out.append(match[0].decode("ascii"))
                continue
            slot, codec = known
            need = _DECLARED_BY.get(codec)
            if need is not None and need not in self.declared:
                problems.append(f"escape sequence to ISO-IR {need}, which is not declared")
            state = (codec, state[1]) if slot == 0 else (state[0], codec)
        put(raw[at:])
        return Decoded("".join(out), problems[0] if problems else None)


def _by_codec(raw: bytes, codec: str) -> Decoded:
    try:
        return Decoded(raw.decode(codec), None)
    except UnicodeDecodeError as error:
        return Decoded(raw.decode(codec, "replace"), f"not {codec}: {error.reason} at byte {error.start}")


def _in_state(raw: bytes, g0: str, g1: str) -> Decoded:
    """Bytes between escape sequences, with one set in G0 and one in G1."""
    if g0 == "ascii":
        if raw.isascii():
            return Decoded(raw.decode("ascii"), None)
        return _by_codec(raw, "shift_jis" if g1 == "katakana" else g1)
    # 94 x 94 characters in G0: EUC-JP has the same tables, at the bytes with the high bit set (3 bytes for JIS X 0212)
    euc = bytearray()
    at = 0
    while at < len(raw):
        if 0x21 <= raw[at] <= 0x7E and at + 1 < len(raw):
            euc += b"\x8f" * (g0 == "jisx0212") + bytes((raw[at] | 0x80, raw[at + 1] | 0x80))
            at += 2
        else:
            euc += raw[at : at + 1] if raw[at] < 0x80 else b"\x8e" + raw[at : at + 1]  # 8E: half-width katakana, G1
            at += 1
    return _by_codec(bytes(euc), "euc_jp")


@lru_cache(maxsize=256)
def charset_for(names: tuple[str, ...]) -> Charset:
    """The Charset for the values of (0008,0005); () is the default repertoire."""
    return Charset(names)


def encode_text(text: str, charsets: Sequence[str], *, person_name: bool = False, single: bool = False) -> bytes:
    """`text` by the values of (0008,0005), not padded; the opposite of `decode_text`. `single`: a VR without several
    values, where a backslash is no delimiter. Raises CharacterSetError when a character is in none of the sets."""
    if text.isascii():
        return text.encode("ascii")
    names = (charsets,) if isinstance(charsets, str) else tuple(charsets)
    try:
        return charset_for(names).encode(text, "\\^=" if person_name else "" if single else "\\")
    except UnicodeEncodeError as error:
        said = "\\".join(names) if any(names) else "the default repertoire, since there is no Specific Character Set"
        raise CharacterSetError(
            f"{text[error.start : error.end][:16]!r} cannot be written in {said}",
            expected="SpecificCharacterSet='ISO_IR 192', set in the same edit or before",
        ) from None


def decode_text(raw: bytes, charsets: Sequence[str], *, person_name: bool = False) -> str:
    """`raw` as text by the values of (0008,0005), padding kept; `person_name` for a PN, where ^ and = delimit too.
    Bad bytes become U+FFFD, as in a lenient `read`."""
    names = (charsets,) if isinstance(charsets, str) else tuple(charsets)
    return charset_for(names).decode(raw, b"\\^=" if person_name else b"\\").text
