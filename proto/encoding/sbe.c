/* The scales of sbe.h, and why a mantissa has none. */
#include "proto/encoding/sbe.h"

static const uint64_t powers_of_10[TP_SBE_POWER_MAX + 1] = {
    1,
    10,
    100,
    1000,
    10000,
    100000,
    1000000,
    10000000,
    100000000,
    1000000000,
    10000000000,
    100000000000,
    1000000000000,
    10000000000000,
    100000000000000,
    1000000000000000,
    10000000000000000,
    100000000000000000,
    1000000000000000000,
};

/* Of 5^n, modulo 2^64. */
static const uint64_t inverses_of_5[TP_SBE_POWER_MAX + 1] = {
    0x1,
    0xcccccccccccccccd,
    0x8f5c28f5c28f5c29,
    0x1cac083126e978d5,
    0xd288ce703afb7e91,
    0x5d4e8fb00bcbe61d,
    0x790fb65668c26139,
    0xe5032477ae8d46a5,
    0xc767074b22e90e21,
    0x8e47ce423a2e9c6d,
    0x4fa7f60d3ed61f49,
    0xfee64690c913975,
    0x3662e0e1cf503eb1,
    0xa47a2cf9f6433fbd,
    0x54186f653140a659,
    0x7738164770402145,
    0xe4a4d1417cd9a041,
    0xc75429d9e5c5200d,
    0xc1773b91fac10669,
};

struct tp_sbe_scale tp_sbe_scale(int32_t from, int32_t to)
{
    const int32_t up = from - to;
    if (up > TP_SBE_POWER_MAX || up < -TP_SBE_POWER_MAX) /* only 0 is as much at both */
        return (struct tp_sbe_scale){.multiplier = 0};
    if (up >= 0)
        return (struct tp_sbe_scale){
            .multiplier = powers_of_10[up],
            .whole_max = INT64_MAX / powers_of_10[up],
            .scaled_max = UINT64_MAX,
        };
    return (struct tp_sbe_scale){
        .multiplier = inverses_of_5[-up],
        .whole_max = INT64_MAX,
        .scaled_max = UINT64_MAX / powers_of_10[-up],
        .rotation = (uint32_t)-up,
    };
}

enum tp_decode_status tp_sbe_refusal(int64_t mantissa, int32_t from, int32_t to)
{
    uint8_t space[TP_DECIMAL_SPACE];
    return tp_decimal_refusal(tp_decimal_write(mantissa, from, space), to, true);
}
