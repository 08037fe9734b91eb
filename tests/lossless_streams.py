"""JPEG Lossless streams of every form, written sample by sample from ITU T.81 annex H: slow, and nothing like csrc."""

from __future__ import annotations

#: lengths of the codes for categories 0..16: all alike, and as uneven as 16 bits allow (so that most are long)
FLAT = [5] * 17
STEEP = [*range(1, 15), 16, 16, 16]
BACKWARDS = [16, 16, 16, *range(14, 0, -1)]


def codes(lengths):
    """Canonical codes (annex C): {category: (code, length)}, and the body of the DHT segment."""
    order = sorted(range(17), key=lambda category: (lengths[category], category))
    found, code, last = {}, 0, lengths[order[0]]
    for category in order:
        code <<= lengths[category] - last
        last = lengths[category]
        found[category] = (code, last)
        code += 1
    counts = bytes(lengths.count(n) for n in range(1, 17))
    return found, counts + bytes(order)


def predict(selection, a, b, c):
    return (None, a, b, c, a + b - c, a + ((b - c) >> 1), b + ((a - c) >> 1), (a + b) >> 1)[selection]


class Bits:
    def __init__(self):
        self.text = []

    def put(self, value, length):
        if length:
            self.text.append(format(value, f"0{length}b"))

    def stuffed(self):
        text = "".join(self.text)
        text += "1" * (-len(text) % 8)
        data = bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))
        self.text = []
        return data.replace(b"\xff", b"\xff\x00")


def scan(planes, precision, predictor, point, restart_rows, tables):
    """Entropy-coded data of the planes of one scan, interleaved."""
    planes = [p.astype(int) >> point for p in planes]
    rows, columns = planes[0].shape
    bits, out = Bits(), b""
    for y in range(rows):
        first = y % restart_rows == 0 if restart_rows else y == 0
        if first and y:
            out += bits.stuffed() + bytes([0xFF, 0xD0 + (y // restart_rows - 1) % 8])
        for x in range(columns):
            for plane, table in zip(planes, tables, strict=True):
                if first:
                    guess = plane[y, x - 1] if x else 1 << (precision - point - 1)
                elif x == 0:
                    guess = plane[y - 1, 0]
                else:
                    guess = predict(predictor, plane[y, x - 1], plane[y - 1, x], plane[y - 1, x - 1])
                difference = (int(plane[y, x]) - int(guess)) & 0xFFFF
                value = difference - 0x10000 if difference > 0x8000 else difference
                category = abs(value).bit_length()
                bits.put(*table[category])
                if category < 16:
                    bits.put((value - (value < 0)) & ((1 << category) - 1), category)
    return out + bits.stuffed()


def segment(marker, body, fill=0):
    return b"\xff" * fill + bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


def stream(
    image, precision, *, predictor=1, point=0, restart_rows=0, interleaved=True, lengths=(FLAT,), fill=0, eoi=True
):
    """A whole stream of `image` (rows, columns[, samples]); component i uses table i % len(lengths)."""
    planes = [image] if image.ndim == 2 else [image[..., s] for s in range(image.shape[2])]
    rows, columns = planes[0].shape
    tables = [codes(each) for each in lengths]
    chosen = [i % len(tables) for i in range(len(planes))]
    parts = b"".join(bytes([i + 1, 0x11, 0]) for i in range(len(planes)))
    head = bytes([precision]) + rows.to_bytes(2, "big") + columns.to_bytes(2, "big") + bytes([len(planes)]) + parts
    out = b"\xff\xd8" + segment(0xFE, b"made by a test", fill) + segment(0xC3, head, fill)
    if restart_rows:
        out += segment(0xDD, (restart_rows * columns).to_bytes(2, "big"), fill)
    groups = [list(range(len(planes)))] if interleaved else [[i] for i in range(len(planes))]
    for group in groups:
        for number in sorted({chosen[i] for i in group}):  # tables between scans: the same number with other codes
            place = number if interleaved else 0
            out += segment(0xC4, bytes([place]) + tables[number][1], fill)
        names = b"".join(bytes([i + 1, (chosen[i] if interleaved else 0) << 4]) for i in group)
        out += segment(0xDA, bytes([len(group)]) + names + bytes([predictor, 0, point]), fill)
        used = [tables[chosen[i]][0] for i in group]
        out += scan([planes[i] for i in group], precision, predictor, point, restart_rows, used)
    return out + (b"\xff" * fill + b"\xff\xd9" if eoi else b"")
