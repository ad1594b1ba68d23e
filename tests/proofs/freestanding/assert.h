/* For compiling to a target whose C library is not installed: checks are not what is looked at. */
#ifndef TP_FREESTANDING_ASSERT_H
#define TP_FREESTANDING_ASSERT_H
#define assert(condition) ((void)(condition))
#define static_assert _Static_assert
#endif
