"""Whole Ethernet frames in and out.

Reading order: link.h (the seam), memory.c (the simplest link), fault_injector.c (one that wraps
another), xdp_steer.bpf.c (which frames leave the kernel; embed.py puts it into the extension),
af_xdp_state.h, af_xdp_program.c (loads and attaches it), af_xdp_open.c, af_xdp.c (hot), af_xdp.py.
"""
