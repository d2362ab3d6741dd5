#!/usr/bin/env python3
"""demo_compare.py CORE RECORD.json: does the core hold, page for page, what the target itself had recorded?

Exit code 0: every buffer is the same. 1: something differs (named by buffer and MiB). 2: the core is not a core.
Independent of crstore: it reads the ELF headers and PT_LOAD segments itself.
"""
import hashlib
import json
import struct
import sys

MIB = 1 << 20


class Core:
    """The PT_LOADs of a 64-bit little-endian ELF core (elf(5))."""

    def __init__(self, path):
        self.file = open(path, "rb")
        header = self.file.read(64)
        if header[:6] != b"\x7fELF\x02\x01" or struct.unpack_from("<H", header, 16)[0] != 4:
            raise ValueError(f"{path} is not a 64-bit little-endian ELF core")
        offset, = struct.unpack_from("<Q", header, 32)
        entry_size, count = struct.unpack_from("<HH", header, 54)
        if count == 0xFFFF:  # PN_XNUM: the number is in section 0's sh_info
            section, = struct.unpack_from("<Q", header, 40)
            self.file.seek(section)
            count, = struct.unpack_from("<I", self.file.read(64), 44)
        self.loads = []
        for n in range(count):
            self.file.seek(offset + n * entry_size)
            kind, _, at, address, _, in_file, in_memory, _ = struct.unpack("<IIQQQQQQ", self.file.read(56))
            if kind == 1:
                self.loads.append((address, in_file, in_memory, at))

    def read(self, address, length):
        """Bytes of memory; ValueError if the core does not hold them."""
        parts = []
        while length > 0:
            for start, in_file, in_memory, at in self.loads:
                if start <= address < start + in_memory:
                    break
            else:
                raise ValueError(f"the core has no memory at 0x{address:x}")
            here = address - start
            if here < in_file:
                take = min(length, in_file - here)
                self.file.seek(at + here)
                part = self.file.read(take)
                if len(part) != take:
                    raise ValueError(f"the core is cut short at 0x{address:x}")
            else:
                take = min(length, in_memory - here)
                part = bytes(take)
            parts.append(part)
            address += take
            length -= take
        return b"".join(parts)


def compare(core, buffer):
    """MiB numbers that differ."""
    address, different, whole = int(buffer["address"], 16), [], hashlib.sha256()
    for n, expected in enumerate(buffer["sha256_per_mib"]):
        part = core.read(address + n * MIB, min(MIB, buffer["length"] - n * MIB))
        whole.update(part)
        if hashlib.sha256(part).hexdigest() != expected:
            different.append(n)
    if not different and whole.hexdigest() != buffer["sha256"]:
        different.append(-1)
    return different


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        core = Core(sys.argv[1])
        with open(sys.argv[2], encoding="utf-8") as file:
            record = json.load(file)
        bad = 0
        for buffer in record["buffers"]:
            different = compare(core, buffer)
            pages = buffer["length"] // 4096
            if different:
                bad += 1
                print(f"  {buffer['name']}: DIFFERS in {len(different)} of {len(buffer['sha256_per_mib'])} MiB, first at MiB {different[0]}")
            else:
                print(f"  {buffer['name']}: {pages} pages at {buffer['address']} equal to generation {record['generation']}'s record")
    except (ValueError, struct.error) as error:
        print(f"demo_compare.py: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
