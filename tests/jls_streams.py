"""JPEG-LS streams of one component, written sample by sample from ITU T.87 annex A: slow, and nothing like csrc."""

from __future__ import annotations

import numpy as np

from lossless_streams import Bits, segment

J = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15]


class JlsBits(Bits):
    def stuffed(self):
        """C.3: a 0 after every byte of ones."""
        text, out, at = "".join(self.text), bytearray(), 0
        while at < len(text):
            size = 7 if out and out[-1] == 0xFF else 8
            out.append(int(text[at : at + size].ljust(size, "0"), 2))
            at += size
        if out and out[-1] == 0xFF:
            out.append(0)
        return bytes(out)


def defaults(maximum, near):
    """C.2.4.1.1.1."""

    def clamp(value, least):
        return least if value > maximum or value < least else value

    if maximum >= 128:
        factor = (min(maximum, 4095) + 128) // 256
        t1 = clamp(factor + 2 + 3 * near, near + 1)
        t2 = clamp(4 * factor + 3 + 5 * near, t1)
        return [t1, t2, clamp(17 * factor + 4 + 7 * near, t2), 64]
    factor = 256 // (maximum + 1)
    t1 = clamp(max(2, 3 // factor + 3 * near), near + 1)
    t2 = clamp(max(3, 7 // factor + 5 * near), t1)
    return [t1, t2, clamp(max(4, 21 // factor + 7 * near), t2), 64]


def scan(image, maximum, near, t1, t2, t3, reset):
    """(entropy-coded bytes, what a decoder makes of them)."""
    step = 2 * near + 1
    span = (maximum + 2 * near) // step + 1
    quantum = (span - 1).bit_length()
    depth = max(2, maximum.bit_length())
    limit = 2 * (depth + max(8, depth))
    first = max(2, (span + 32) // 64)
    a, b, c, n = [first] * 367, [0] * 367, [0] * 365, [1] * 367
    negative = [0, 0]
    bits, index = JlsBits(), 0
    rows, columns = image.shape
    padded = np.zeros((rows + 1, columns + 2), int)  # the reconstruction, with what lies beside it

    def golomb(value, k, most):
        high = value >> k
        if high < most - quantum - 1:
            bits.put(1, high + 1)
            bits.put(value & ((1 << k) - 1), k)
        else:
            bits.put(1, most - quantum)
            bits.put(value - 1, quantum)

    def level(d):
        size = abs(d)
        q = 0 if size <= near else 1 if size < t1 else 2 if size < t2 else 3 if size < t3 else 4
        return -q if d < 0 else q

    def quantised(error):
        error = (error + near) // step if error > 0 else -((near - error) // step)
        error = error + span if error < 0 else error
        return error - span if error >= (span + 1) // 2 else error

    def rebuilt(value):
        if value < -near:
            value += span * step
        elif value > maximum + near:
            value -= span * step
        return min(max(value, 0), maximum)

    def parameter(total, count):
        k = 0
        while count << k < total:
            k += 1
        return k

    for y in range(rows):
        up, row = padded[y], padded[y + 1]
        up[columns + 1] = up[columns]
        row[0] = up[1]
        x = 1
        while x <= columns:
            ra, rb, rc, rd, sample = (int(v) for v in (row[x - 1], up[x], up[x - 1], up[x + 1], image[y, x - 1]))
            q = 81 * level(rd - rb) + 9 * level(rb - rc) + level(rc - ra)
            if q:
                sign = -1 if q < 0 else 1
                q = abs(q)
                guess = min(ra, rb) if rc >= max(ra, rb) else max(ra, rb) if rc <= min(ra, rb) else ra + rb - rc
                guess = min(max(guess + sign * c[q], 0), maximum)
                error = quantised(sign * (sample - guess))
                row[x] = rebuilt(guess + sign * error * step)
                k = parameter(a[q], n[q])
                if near == 0 and k == 0 and 2 * b[q] <= -n[q]:
                    mapped = 2 * error + 1 if error >= 0 else -2 * (error + 1)
                else:
                    mapped = 2 * error if error >= 0 else -2 * error - 1
                golomb(mapped, k, limit)
                b[q] += error * step
                a[q] += abs(error)
                if n[q] == reset:
                    a[q] >>= 1
                    b[q] >>= 1
                    n[q] >>= 1
                n[q] += 1
                if b[q] <= -n[q]:
                    b[q] = max(b[q] + n[q], 1 - n[q])
                    c[q] = max(c[q] - 1, -128)
                elif b[q] > 0:
                    b[q] = min(b[q] - n[q], 0)
                    c[q] = min(c[q] + 1, 127)
                x += 1
                continue
            run = 0
            while x + run <= columns and abs(int(image[y, x + run - 1]) - ra) <= near:
                row[x + run] = ra
                run += 1
            x += run
            while run >= 1 << J[index]:
                bits.put(1, 1)
                run -= 1 << J[index]
                index = min(index + 1, 31)
            if x > columns:
                if run:
                    bits.put(1, 1)
                continue
            bits.put(0, 1)
            bits.put(run, J[index])
            rb, sample = int(up[x]), int(image[y, x - 1])
            kind = int(abs(ra - rb) <= near)
            guess, sign = (ra, 1) if kind else (rb, -1 if ra > rb else 1)
            error = quantised(sign * (sample - guess))
            row[x] = rebuilt(guess + sign * error * step)
            q = 365 + kind
            k = parameter(a[q] + (n[q] >> 1 if kind else 0), n[q])
            turned = error != 0 and (
                (k == 0 and error > 0 and 2 * negative[kind] < n[q])
                or (error < 0 and (2 * negative[kind] >= n[q] or k != 0))
            )
            mapped = 2 * abs(error) - kind - turned
            golomb(mapped, k, limit - J[index] - 1)
            negative[kind] += error < 0
            a[q] += (mapped + 1 - kind) >> 1
            if n[q] == reset:
                a[q] >>= 1
                n[q] >>= 1
                negative[kind] >>= 1
            n[q] += 1
            index = max(index - 1, 0)
            x += 1
    return bits.stuffed(), padded[1:, 1:-1]


def stream(image, precision, *, near=0, presets=None, maximum=0, restart_rows=0):
    """(a whole stream, what it decodes to). `presets` are T1, T2, T3, RESET; `maximum` is MAXVAL."""
    rows, columns = image.shape
    head = bytes([precision]) + rows.to_bytes(2, "big") + columns.to_bytes(2, "big") + b"\x01\x01\x11\x00"
    out = b"\xff\xd8" + segment(0xF7, head)
    if presets or maximum:
        values = [maximum, *(presets or [0, 0, 0, 0])]
        out += segment(0xF8, b"\x01" + b"".join(v.to_bytes(2, "big") for v in values))
    if restart_rows:
        out += segment(0xDD, restart_rows.to_bytes(2, "big"))
    out += segment(0xDA, bytes([1, 1, 0, near, 0, 0]))
    top = maximum or (1 << precision) - 1
    used = [given or usual for given, usual in zip(presets or [0] * 4, defaults(top, near), strict=True)]
    parts = []
    for number, y in enumerate(range(0, rows, restart_rows or rows)):
        data, made = scan(image[y : y + (restart_rows or rows)], top, near, *used)
        out += (bytes([0xFF, 0xD0 + (number - 1) % 8]) if number else b"") + data
        parts.append(made)
    return out + b"\xff\xd9", np.concatenate(parts).astype(image.dtype)
