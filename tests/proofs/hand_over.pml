/* The hand-over of a segment's name from writers that die anywhere to the next one, as
 * shm/segment_create.c does it, and a reader that follows, as shm/segment_reader.c does. Spin visits
 * every interleaving, and the death of the first two of three writers after every step: also
 * between the rename and the mark, after which nobody will ever mark the first one's file.
 *
 * Files have their writer's number, 0 is none. The kernel frees a dead process's lock. A reader
 * never takes a file that is not ready, never goes back, and ends with the last one.
 *
 * One macro each takes a part away; with it Spin must find an error. */
#define NONE 0
#define LAST 3

byte lock_owner;          /* flock on tickpath.<instance>.lock */
byte name;                /* the file that stands under tickpath.<instance> */
bool ready[LAST + 1];     /* live.state == READY */
byte superseded[LAST + 1]; /* live.superseded_by */
bool dead[LAST + 1];      /* its heartbeat has stopped */

active [LAST] proctype writer()
{
    byte me = _pid + 1, old;
    {
#ifndef NO_LOCK
        atomic { lock_owner == NONE && (me == 1 || dead[me - 1]) -> lock_owner = me };
#else
        lock_owner = me;
#endif
#ifdef RENAME_BEFORE_READY
        old = name;
        name = me;
        ready[me] = true;
#else
        ready[me] = true;
        old = name;
        name = me;
#endif
        if
        :: old != NONE -> superseded[old] = me
        :: else -> skip
        fi;
end:    false /* lives until it is killed */
    } unless { dead[me] }
}

active proctype killer()
{
    byte victim = 1;
    do
    :: victim < LAST ->
        atomic {
            lock_owner == victim -> dead[victim] = true;
            lock_owner = NONE
        };
        victim++
    :: victim == LAST -> break
    od
}

active proctype reader()
{
    byte mapped = NONE, found;
    do
    :: mapped != LAST ->
        /* Opens at first; opens anew when told by the mark, or when the heartbeat stopped. */
        if
        :: mapped == NONE -> skip
        :: mapped != NONE && superseded[mapped] != NONE -> skip
#ifndef NO_LOOK_WHEN_SILENT
        :: mapped != NONE && dead[mapped] -> skip
#endif
        fi;
        found = name;
        if
        :: found != NONE && found != mapped ->
            assert(ready[found]);
            assert(found > mapped);
            mapped = found
        :: else -> skip
        fi
    :: mapped == LAST -> break
    od
}
