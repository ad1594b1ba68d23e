/* For test_orders.py: what features.h takes where the machine is not x86-64. Nothing is linked. */
