/*
 * operation.h - something asynchronous that is under way on one worker.
 *
 * Every function of ours that starts one follows the same four rules, so they are written here once:
 *
 *   1. It returns the operation, or NULL when it could not start (out of memory, too much in flight); then
 * the callback never fires.
 *   2. The callback is never called from inside the call that starts the operation.
 *   3. The callback fires exactly once, on the worker's own thread - unless operation_cancel() was called
 * first, then never.
 *   4. The operation belongs to whoever started it upstream; the pointer is dead once its callback was
 * entered or operation_cancel() returned.
 */
#ifndef TELEMETRYD_OPERATION_H
#define TELEMETRYD_OPERATION_H

#include <stddef.h>

struct operation {
    void (*cancel)(struct operation *op);
};

/* Gives the operation up; accepts NULL. Frees what it holds; the callback will not fire. */
static inline void operation_cancel(struct operation *op)
{
    if (op != NULL)
        op->cancel(op);
}

#endif
