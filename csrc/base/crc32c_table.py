"""Writes crc32c_table.h: python csrc/base/crc32c_table.py > csrc/base/crc32c_table.h

CRC-32C (Castagnoli, RFC 3720 B.4), reflected: polynomial 0x1EDC6F41, as a reflected word 0x82F63B78.
"""

POLYNOMIAL = 0x82F63B78


def multiply(a: int, b: int) -> int:
    """a * b modulo the polynomial; both reflected: bit 31 is x^0."""
    product = 0
    for i in range(32):
        if a & (1 << (31 - i)):
            product ^= b
        b = (b >> 1) ^ (POLYNOMIAL if b & 1 else 0)
    return product


def power(n: int) -> int:
    """x^n modulo the polynomial."""
    result, square = 1 << 31, 1 << 30
    while n:
        if n & 1:
            result = multiply(result, square)
        square = multiply(square, square)
        n >>= 1
    return result


def slices() -> list[list[int]]:
    first = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (POLYNOMIAL if byte & 1 else 0)
        first.append(byte)
    rows = [first]
    for _ in range(7):
        rows.append([first[value & 255] ^ (value >> 8) for value in rows[-1]])
    return rows


def words(values: list[int]) -> str:
    lines = [values[i : i + 8] for i in range(0, len(values), 8)]
    return "\n".join("    " + " ".join(f"0x{value:08x}," for value in line) for line in lines)


def main() -> None:
    print("/* Written by crc32c_table.py: do not edit. */")
    print("static const uint32_t SLICES[8][256] = {")
    for row in slices():
        print("    {\n" + words(row) + "\n    },")
    print("};\n")
    print("/* x^(2^k), k from 0; x^(2^31) is x^(2^0) again, the polynomial has order 2^31 - 1. */")
    print("static const uint32_t POWERS[31] = {\n" + words([power(1 << k) for k in range(31)]) + "\n};\n")
    print("/* x^(8n - 33): what the crc32 instruction needs beside a carry-less product to move a CRC n bytes on. */")
    for size in (4096, 8192, 256, 512):
        print(f"#define SHIFT_{size} 0x{power(8 * size - 33):08x}u")


main()
