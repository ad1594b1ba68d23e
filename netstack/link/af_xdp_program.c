/* Loads and attaches xdp_steer.bpf.c through libbpf. Cold; called by af_xdp_open.c.
 *
 * Attached by a bpf_link: the kernel detaches it when the last descriptor closes, so kill -9 leaves
 * no program behind (a netlink attachment would stay and take our flows with it). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "netstack/link/af_xdp_state.h"

/* Keep in step with struct steer_config in xdp_steer.bpf.c. */
struct steer_config {
    uint32_t address; /* network byte order */
    uint16_t port_low, port_high;
};

struct steer_program {
    struct bpf_object *object;
    int program_descriptor, map_descriptor, link_descriptor;
};

static int set_config(struct bpf_object *object, const struct tp_af_xdp_config *config)
{
    const struct steer_config steer = {.address = __builtin_bswap32(config->address),
                                       .port_low = config->port_low,
                                       .port_high = config->port_high};
    struct bpf_map *map;

    bpf_object__for_each_map(map, object)
    {
        if (strstr(bpf_map__name(map), ".rodata") != NULL)
            return bpf_map__set_initial_value(map, &steer, sizeof steer);
    }
    return -ENOENT;
}

int steer_program_load(const struct tp_af_xdp_config *config, struct steer_program **out)
{
    struct steer_program *program = calloc(1, sizeof *program);
    int error;

    if (program == NULL)
        return -ENOMEM;
    program->link_descriptor = -1;
    program->object = bpf_object__open_mem(xdp_steer_object, xdp_steer_object_size, NULL);
    if (program->object == NULL) {
        error = -errno;
        goto free_program;
    }
    error = set_config(program->object, config);
    if (error != 0)
        goto free_program;
    error = bpf_object__load(program->object);
    if (error != 0)
        goto free_program;

    struct bpf_program *steer = bpf_object__find_program_by_name(program->object, "xdp_steer");
    program->program_descriptor = bpf_program__fd(steer);
    program->map_descriptor = bpf_object__find_map_fd_by_name(program->object, "xsks");
    *out = program;
    return 0;

free_program:
    steer_program_free(program);
    return error;
}

int steer_program_attach(struct steer_program *program, uint32_t interface_index, uint32_t flags)
{
    LIBBPF_OPTS(bpf_link_create_opts, options, .flags = flags);
    const int descriptor =
        bpf_link_create(program->program_descriptor, (int)interface_index, BPF_XDP, &options);

    if (descriptor < 0)
        return descriptor;
    program->link_descriptor = descriptor;
    return 0;
}

int steer_program_insert(struct steer_program *program, uint32_t queue, int socket)
{
    return bpf_map_update_elem(program->map_descriptor, &queue, &socket, BPF_ANY);
}

void steer_program_detach(struct steer_program *program)
{
    if (program->link_descriptor < 0)
        return;
    /* The interface may be gone already: then there is nothing to detach. */
    (void)bpf_link_detach(program->link_descriptor);
    close(program->link_descriptor);
    program->link_descriptor = -1;
}

void steer_program_forget(struct steer_program *program)
{
    if (program->link_descriptor >= 0)
        close(program->link_descriptor); /* the parent's descriptor still holds the link */
    program->link_descriptor = -1;
}

void steer_program_free(struct steer_program *program)
{
    if (program == NULL)
        return;
    steer_program_detach(program);
    bpf_object__close(program->object);
    free(program);
}
