/* The logic of ring, snapshot table and join, every interleaving of every load and store, checked
 * by Spin (sequentially consistent: fences are the business of tests/unit/test_shm_model.py).
 *
 * One writer makes CHANGES changes to one instrument, whose state is the number of changes so far.
 * For each it publishes the snapshot, then the event, as shm/snapshot_table.c and
 * shm/broadcast_ring.h do. The writer may stop after any store: Spin visits every prefix. Readers
 * join as shm/segment_reader.h says, and at every moment hold a state that was true, reached
 * without a gap; who follows a writer to its end holds the last one.
 *
 * One macro each takes a part away; with it Spin must find an error. */
#define CAPACITY 2
#define VERSIONS 4
#define CHANGES 6

byte sequence[CAPACITY], word_a[CAPACITY], word_b[CAPACITY], head;
byte cell_sequence[VERSIONS], cell_ring_index[VERSIONS], cell_a[VERSIONS], cell_b[VERSIONS];
byte version;
bool ended;

inline publish_snapshot(n)
{
    cell = n % VERSIONS;
#ifndef NO_ODD_MARK
    cell_sequence[cell] = 2 * n - 1;
#endif
    cell_ring_index[cell] = n; /* the event of change n has index n - 1: n is the first without */
    cell_a[cell] = n;
    cell_b[cell] = n;
    cell_sequence[cell] = 2 * n;
    version = n;
}

inline publish_event(n)
{
    slot = (n - 1) % CAPACITY;
#ifndef NO_ODD_MARK
    sequence[slot] = 2 * n - 1;
#endif
    word_a[slot] = n;
    word_b[slot] = n;
    sequence[slot] = 2 * n;
    head = n;
}

active proctype writer()
{
    byte change = 1, cell, slot;
    do
    :: change <= CHANGES ->
#ifdef EVENT_BEFORE_SNAPSHOT
        publish_event(change);
        publish_snapshot(change);
#else
        publish_snapshot(change);
        publish_event(change);
#endif
        change++
    :: change > CHANGES -> break
    od;
    ended = true
}

/* Leaves the state and the first event that it does not contain; 0 and 0 before any version. */
inline read_snapshot()
{
    do
    :: seen = version;
       if
       :: seen == 0 -> state = 0; from = 0; break
       :: else -> skip
       fi;
       cell = seen % VERSIONS;
       before = cell_sequence[cell];
#ifdef ANY_EVEN_SEQUENCE
       if
       :: before % 2 == 1 -> goto again
       :: else -> skip
       fi;
#else
       if
       :: before != 2 * seen -> goto again
       :: else -> skip
       fi;
#endif
       from = cell_ring_index[cell];
       a = cell_a[cell];
       b = cell_b[cell];
#ifndef NO_RECHECK
       if
       :: cell_sequence[cell] != before -> goto again
       :: else -> skip
       fi;
#endif
       assert(a == b && a == from); /* whole */
       assert(a >= state);          /* never back in time */
       state = a;
       break;
again: skip
    od
}

active proctype reader()
{
    byte next, state, from, seen, cell, slot, before, a, b;
join:
#ifdef SNAPSHOT_BEFORE_POSITION
    read_snapshot();
    next = head;
#else
    next = head;
    read_snapshot();
#endif
    do
    :: slot = next % CAPACITY;
       before = sequence[slot];
       if
       :: before == 2 * next + 2 ->
           a = word_a[slot];
           b = word_b[slot];
#ifndef NO_RECHECK
           if
           :: sequence[slot] != before -> goto join /* lapped in the midst */
           :: else -> skip
           fi;
#endif
           assert(a == b); /* whole */
           if
           :: next < from -> skip /* the snapshot contains it */
           :: else ->
               assert(a == state + 1); /* no gap, nothing twice */
               state = a
           fi;
           next++
       :: before > 2 * next + 2 -> goto join /* lapped */
       :: before < 2 * next + 2 ->
           if
           :: ended && next == head -> break
           :: else -> skip
           fi
       fi
    od;
    assert(state == CHANGES)
}
