/* A TLS handshake between the hot thread and a worker, as netstack/tls/handover.c and
 * handshake_worker.c do it. Spin visits every interleaving of every load, store and exchange
 * (sequentially consistent: orders are the business of tests/unit/test_tls_handover_model.py).
 *
 * The server sends up to SENT bytes, of which NEEDED are the handshake; they come at any time, also while
 * the worker works. The hot thread may give up at any time. Nobody touches the allocation after it
 * was freed; it is freed once; the worker never sleeps over work; what followed the handshake is
 * still there when the hot thread takes over.
 *
 * One macro each takes a part away; with it Spin must find an error. */
#define NEEDED 2
#define SENT 3

mtype = { IDLE, WANTED, WORKING, WORKING_WANTED, DONE, FAILED, ABANDONED };

mtype state = IDLE;
byte given, used; /* bytes written to received, bytes dropped from it */
bool in_slot = true, freed;
bool pending, stop;
byte word; /* the futex's */

inline touch() { assert(!freed) }

inline free_it()
{
    assert(!freed);
    freed = true
}

inline want(before)
{
    touch();
    atomic {
        before = state;
        if
        :: state == IDLE -> state = WANTED
#ifndef NO_SECOND_WANT
        :: state == WORKING -> state = WORKING_WANTED
#endif
        :: else -> skip
        fi
    }
}

inline wake()
{
    pending = false;
    word++
}

active proctype hot()
{
    mtype before;
    byte sent = SENT;
    bool gives_up;
    if
    :: sent = NEEDED
    :: sent = SENT
    fi;
    if
    :: gives_up = true
    :: gives_up = false
    fi;
    do
    :: given < sent && state != DONE && state != FAILED ->
        touch();
        given++;
#ifdef NOTE_BEFORE_WANT
        pending = true;
        wake();
        want(before)
#else
        want(before);
        if
        :: before == IDLE -> pending = true
        :: else -> skip
        fi
#endif
    :: pending -> wake() /* the tick */
    :: state == DONE ->
        touch();
        assert(used == NEEDED);
        free_it();
        break
    :: state == FAILED ->
        touch();
        free_it();
        break
    :: gives_up ->
        touch();
        atomic {
            before = state;
            if
            :: state == DONE || state == FAILED -> skip
            :: else -> state = ABANDONED
            fi
        };
#ifdef HOT_ALWAYS_FREES
        free_it();
#else
        if
        :: before == DONE || before == FAILED -> free_it()
        :: else ->
            pending = true;
            wake()
        fi;
#endif
        break
    od;
    stop = true;
    wake()
}

inline shake()
{
    do
#ifdef EATS_WHAT_FOLLOWS
    :: used < given -> touch(); used++
#else
    :: used < given && used < NEEDED -> touch(); used++
#endif
    :: else -> break
    od;
    if
    :: used >= NEEDED -> result = DONE
    :: used >= NEEDED -> result = FAILED
    :: used < NEEDED -> result = IDLE
    fi
}

/* One step over the only slot. */
inline look()
{
    worked = false;
    if
    :: in_slot ->
        touch();
        if
        :: state == WANTED || state == ABANDONED ->
            worked = true;
            atomic {
                if
                :: state == WANTED -> state = WORKING
                :: else -> skip
                fi;
                after = state
            };
            do
            :: after == WORKING ->
                touch();
                shake();
                touch();
                atomic {
                    if
                    :: state == ABANDONED -> skip
                    :: state != ABANDONED && result != IDLE -> state = result
                    :: state == WORKING && result == IDLE -> state = IDLE
                    :: state == WORKING_WANTED && result == IDLE -> state = WORKING
                    fi;
                    after = state
                }
            :: else -> break
            od;
            if
#ifdef LETS_GO_LATE
            :: after == DONE || after == FAILED -> touch(); in_slot = false
#else
            :: after == DONE || after == FAILED -> in_slot = false
#endif
#ifdef ABANDONED_IS_FORGOTTEN
            :: after == ABANDONED -> in_slot = false
#else
            :: after == ABANDONED -> free_it(); in_slot = false
#endif
            :: else -> skip
            fi
        :: else -> skip
        fi
    :: else -> skip
    fi
}

active proctype worker()
{
    mtype after, result;
    byte seen;
    bool worked;
    do
    :: stop -> break
    :: else ->
#ifndef READS_WORD_LATE
        seen = word;
#endif
        look();
#ifdef READS_WORD_LATE
        seen = word;
#endif
        if
        :: !worked && !stop -> word != seen /* FUTEX_WAIT */
        :: else -> skip
        fi
    od;
    look(); /* tp_tls_handshake_worker_free, after the thread was joined */
    assert(!in_slot);
    assert(freed)
}
