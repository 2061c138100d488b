"""Texts of others on pages: shown as they are, never obeyed."""

from __future__ import annotations

from typing import Final

from service.web.pages.shell import blueprint

JOINERS: Final = {"\u00a0", "\u200c", "\u200d"}  # parts of words and emoji
LONGEST_BYTES: Final = 64 * 1024  # that a page shows of a body


@blueprint.app_template_filter("visible")
def visible(text: object) -> str:
    """What cannot be seen, or turns the line around, is named by its number."""
    return "".join(one if one.isprintable() or one in JOINERS else f"⟨U+{ord(one):04X}⟩" for one in str(text))


@blueprint.app_template_filter("bytes")
def visible_bytes(raw: bytes) -> str:
    """Printable ASCII as it is, a backslash doubled, every other byte as \\xNN."""
    shown = "".join(
        "\\\\" if byte == 0x5C else chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}"
        for byte in raw[:LONGEST_BYTES]
    )
    left = len(raw) - LONGEST_BYTES
    return shown if left <= 0 else f"{shown}… and {left} bytes more"
