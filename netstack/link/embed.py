"""Write a compiled BPF object as a C array, so that the wheel needs no compiler at run time.

Called by meson: embed.py OBJECT OUTPUT.
"""

import sys
from pathlib import Path


def main() -> None:
    """Emit xdp_steer_object and its size."""
    data = Path(sys.argv[1]).read_bytes()
    rows = (", ".join(str(byte) for byte in data[i : i + 20]) for i in range(0, len(data), 20))
    body = ",\n".join(rows)
    Path(sys.argv[2]).write_text(
        '#include "netstack/link/af_xdp_state.h"\n'
        f"_Alignas(16) const unsigned char xdp_steer_object[] = {{\n{body}}};\n"
        f"const size_t xdp_steer_object_size = {len(data)};\n"
    )


main()
