"""Whole Ethernet frames in and out.

Reading order: link.h (the seam), memory.c (the simplest link), fault_injector.c (one that wraps
another), xdp_steer.bpf.c (which frames leave the kernel), af_xdp_open.c, af_xdp.c, af_xdp.py.
"""
