/* The handler of mapping_guard.h. */
#include "shm/mapping_guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>

struct guarded {
    _Atomic uintptr_t base; /* 0: free */
    _Atomic size_t size;
    _Atomic int protection;
    _Atomic bool is_broken;
};

/* A signal handler is given nothing but the address: what it must know is the process's. */
static struct guarded table[TP_MAPPING_GUARD_COUNT_MAX];
static struct sigaction previous;
static _Atomic uintptr_t stranger;      /* the last address that was not ours, */
static _Atomic uint32_t stranger_count; /* and how often in a row */
static pthread_mutex_t cold = PTHREAD_MUTEX_INITIALIZER;

/* A handler that came after ours may hand on to ours what we hand on to it (faulthandler does): an
 * access that nobody mended after so many tries never will be. */
enum { STRANGER_TRIES_MAX = 8 };

static struct guarded *guarded_find(uintptr_t address)
{
    for (size_t i = 0; i < TP_MAPPING_GUARD_COUNT_MAX; i++) {
        /* Pairs with the release store in tp_mapping_guard_add. */
        const uintptr_t base = atomic_load_explicit(&table[i].base, memory_order_acquire);
        if (base != 0 && address >= base &&
            address - base < atomic_load_explicit(&table[i].size, memory_order_relaxed))
            return &table[i];
    }
    return NULL;
}

/* Only mmap and atomics: safe at any instruction. Two threads that fault at once both put zeroes
 * there. */
static bool guarded_replace(struct guarded *one)
{
    void *base = (void *)atomic_load_explicit(&one->base, memory_order_relaxed);
    const size_t size = atomic_load_explicit(&one->size, memory_order_relaxed);
    const int protection = atomic_load_explicit(&one->protection, memory_order_relaxed);
    atomic_store_explicit(&one->is_broken, true, memory_order_relaxed);
    return mmap(base, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
                0) == base;
}

/* A handler that came after ours (faulthandler) raises the signal anew, without the address. So ask
 * the kernel which of the mappings cannot be read. Before Linux 5.14 it does not say. */
static bool cut_ones_replace(void)
{
    bool any = false;
    for (size_t i = 0; i < TP_MAPPING_GUARD_COUNT_MAX; i++) {
        /* Pairs with the release store in tp_mapping_guard_add. */
        const uintptr_t base = atomic_load_explicit(&table[i].base, memory_order_acquire);
        if (base == 0 || atomic_load_explicit(&table[i].is_broken, memory_order_relaxed))
            continue;
        const size_t size = atomic_load_explicit(&table[i].size, memory_order_relaxed);
        if (madvise((void *)base, size, MADV_POPULATE_READ) != 0 && errno == EFAULT)
            any |= guarded_replace(&table[i]);
    }
    return any;
}

static bool is_hopeless(uintptr_t address)
{
    if (atomic_exchange_explicit(&stranger, address, memory_order_relaxed) != address)
        atomic_store_explicit(&stranger_count, 0, memory_order_relaxed);
    return atomic_fetch_add_explicit(&stranger_count, 1, memory_order_relaxed) >=
           STRANGER_TRIES_MAX;
}

/* The access is made again and ends the process as ever. */
static void default_restore(int number)
{
    const struct sigaction fallback = {.sa_handler = SIG_DFL};
    (void)sigaction(number, &fallback, NULL);
}

static void on_bus_error(int number, siginfo_t *info, void *context)
{
    const int error = errno;
    /* BUS_ADRERR alone: bad memory (BUS_MCEERR_AR) is not ours to hide. */
    struct guarded *one =
        info->si_code == BUS_ADRERR ? guarded_find((uintptr_t)info->si_addr) : NULL;
    const bool is_raised = info->si_code <= 0; /* by a process: si_addr says nothing */
    if ((one != NULL && guarded_replace(one)) || (is_raised && cut_ones_replace())) {
        errno = error;
        return;
    }
    if (is_hopeless((uintptr_t)info->si_addr)) {
        default_restore(number);
    } else if ((previous.sa_flags & SA_SIGINFO) != 0) {
        previous.sa_sigaction(number, info, context);
    } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
        previous.sa_handler(number);
    } else {
        default_restore(number);
    }
    errno = error;
}

/* At each add, since another library (faulthandler) may have taken the signal meanwhile. */
static bool handler_install(void)
{
    struct sigaction now;
    if (sigaction(SIGBUS, NULL, &now) != 0)
        return false;
    if ((now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == on_bus_error)
        return true;
    previous = now;
    struct sigaction ours = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&ours.sa_mask);
    return sigaction(SIGBUS, &ours, NULL) == 0;
}

bool tp_mapping_guard_add(void *base, size_t size, int protection)
{
    bool is_added = false;
    pthread_mutex_lock(&cold);
    for (size_t i = 0; handler_install() && i < TP_MAPPING_GUARD_COUNT_MAX && !is_added; i++) {
        struct guarded *one = &table[i];
        if (atomic_load_explicit(&one->base, memory_order_relaxed) != 0)
            continue;
        atomic_store_explicit(&one->size, size, memory_order_relaxed);
        atomic_store_explicit(&one->protection, protection, memory_order_relaxed);
        atomic_store_explicit(&one->is_broken, false, memory_order_relaxed);
        /* Pairs with the acquire load in guarded_find. */
        atomic_store_explicit(&one->base, (uintptr_t)base, memory_order_release);
        is_added = true;
    }
    pthread_mutex_unlock(&cold);
    return is_added;
}

void tp_mapping_guard_remove(const void *base)
{
    pthread_mutex_lock(&cold);
    struct guarded *one = guarded_find((uintptr_t)base);
    if (one != NULL)
        atomic_store_explicit(&one->base, 0, memory_order_relaxed);
    pthread_mutex_unlock(&cold);
}

bool tp_mapping_guard_is_broken(const void *base)
{
    const struct guarded *one = guarded_find((uintptr_t)base);
    return one != NULL && atomic_load_explicit(&one->is_broken, memory_order_relaxed);
}
