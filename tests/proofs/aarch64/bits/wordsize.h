/* For test_orders.py: the C library's headers of x86-64, read for another 64-bit machine. */
#define __WORDSIZE 64
#define __WORDSIZE_TIME64_COMPAT32 1
#define __SYSCALL_WORDSIZE 64
