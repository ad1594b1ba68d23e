"""measure: how long this host keeps a real-time task waiting, what did it, and whether it changed.

In reading order: histogram (counts and percentiles), tools (cyclictest, oslat, rtla and their
output), gap (our own spinning sampler), causes (what the kernel counted meanwhile), verdict (when a
figure says nothing about this host), run (one measurement), compare (two of them, interleaved),
command. The standard library only.
"""
