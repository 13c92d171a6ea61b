#include "sqlite_internal.h"

#include "percent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What may wait; beyond it a write is answered UPSTREAM_OVERLOADED at once. */
#define QUEUE_WRITES_MAX 10000
#define QUEUE_BYTES_MAX  (64U * 1024 * 1024)

/* What one transaction takes: enough to share an fsync among many, so little that the last one does not wait
 * long. A write weighs one, and each of its readings one. */
#define GROUP_WEIGHT          2000
#define GROUP_WEIGHT_BACKFILL 20000
#define GROUP_BYTES           (4U * 1024 * 1024)

/* After a group was acknowledged its authors often write again at once. So much longer, and never longer than
 * half of what a transaction takes, does the next group wait for half as many as there were: fewer would each
 * pay for an fsync of their own, and if it waited for all, the writer and its callers would only ever work in
 * turns. */
#define LINGER_MAX_US 1000

/* A backfill alone waits for more of its kind, or for sqlite_db_flush(). */
#define BACKFILL_LINGER_US 20000
#define BACKFILL_ENOUGH    8000

#define IDLE_US 1000000

/* Writes that wait or run, of one kind. */
struct load {
    size_t writes, bytes;
};

struct sqlite_writer {
    struct sqlite_db *db;
    struct sqlite_group *group; /* the thread's alone */
    uv_thread_t thread;
    uv_mutex_t lock; /* protects what follows */
    uv_cond_t work;  /* the thread waits for something to do */
    uv_cond_t done;  /* blocking callers wait for the end of a group */
    bool stopping;
    size_t wanted;  /* queued writes that are worth waking the thread for; 0 while it does not wait */
    unsigned hurry; /* blocking callers that wait for all that is queued */
    struct sqlite_write *first, **last;
    struct load online, backfill; /* backfill: writes without a callback */
    size_t queued_online, queued_backfill;
    size_t last_online;   /* writes with a callback in the group before */
    uint64_t last_run_us; /* and how long it took */
    uint64_t submitted, completed;
    int silent_error; /* of writes without a callback, until somebody asks */
};

/* --- a write ----------------------------------------------------------------------------------- */

static char *keep(char **at, const void *text, size_t len)
{
    char *copy = *at;
    if (len > 0)
        memcpy(copy, text, len);
    copy[len] = '\0';
    *at += len + 1;
    return copy;
}

/* What follows the device's id in an item id; the device is a column of its own. */
static const char *own_part(const char *id, const struct buffer *prefix)
{
    return id != NULL && strncmp(id, prefix->data, prefix->len) == 0 ? id + prefix->len : id;
}

struct sqlite_write *sqlite_write_new(enum sqlite_write_kind kind, const char *device_id,
                                      const struct reading *readings, size_t count, const char *patch,
                                      size_t patch_len)
{
    struct sqlite_write *write = NULL;
    struct buffer prefix = {0};
    item_id_append(&prefix, device_id, "");
    if (prefix.failed)
        goto out;
    size_t id_len = strlen(device_id);
    size_t size =
        sizeof(struct sqlite_write) + count * sizeof(struct sqlite_reading) + id_len + 1 + patch_len + 1;
    for (size_t i = 0; i < count; i++)
        size += readings[i].data_len + 1 + (readings[i].id != NULL ? strlen(readings[i].id) + 1 : 0);
    write = malloc(size);
    if (write == NULL)
        goto out;
    *write = (struct sqlite_write){.kind = kind, .bytes = size, .count = count};
    write->readings = (struct sqlite_reading *)(write + 1);
    char *at = (char *)(write->readings + count);
    write->device_id = keep(&at, device_id, id_len);
    write->patch = keep(&at, patch, patch_len);
    write->patch_len = patch_len;
    for (size_t i = 0; i < count; i++) {
        const struct reading *reading = &readings[i];
        const char *id = own_part(reading->id, &prefix);
        write->readings[i] = (struct sqlite_reading){
            .data = keep(&at, reading->data, reading->data_len),
            .data_len = reading->data_len,
            .id = id != NULL ? keep(&at, id, strlen(id)) : NULL,
        };
    }
out:
    buffer_free(&prefix);
    return write;
}

void sqlite_write_free(struct sqlite_write *write)
{
    if (write == NULL)
        return;
    free(write->reported);
    free(write);
}

static void deliver(struct letter *letter)
{
    struct sqlite_write *write =
        (struct sqlite_write *)((char *)letter - offsetof(struct sqlite_write, letter));
    if (!write->cancelled)
        write->answer(write);
    sqlite_write_free(write);
}

/* Under the lock, so that a cancel sees a write either still with the writer, who will then not post it, or
 * already in the mailbox. After a cancel nobody posts for it any more, and the mailbox may be closed. */
static void post(struct sqlite_write *write)
{
    write->letter.deliver = deliver;
    mailbox_post(write->mailbox, &write->letter);
}

static void write_cancel(struct operation *op)
{
    struct sqlite_write *write = (struct sqlite_write *)op;
    struct sqlite_writer *writer = write->writer;
    uv_mutex_lock(&writer->lock);
    write->cancelled = true;
    uv_mutex_unlock(&writer->lock);
}

/* --- the queue, under the lock ----------------------------------------------------------------- */

static struct load *load_of(struct sqlite_writer *writer, const struct sqlite_write *write)
{
    return write->mailbox != NULL ? &writer->online : &writer->backfill;
}

static bool has_room(struct sqlite_writer *writer, const struct sqlite_write *write)
{
    const struct load *load = load_of(writer, write);
    return load->writes < QUEUE_WRITES_MAX &&
           (load->writes == 0 || load->bytes + write->bytes <= QUEUE_BYTES_MAX);
}

static size_t queued(const struct sqlite_writer *writer)
{
    return writer->queued_online + writer->queued_backfill;
}

static void enqueue(struct sqlite_writer *writer, struct sqlite_write *write)
{
    struct load *load = load_of(writer, write);
    load->writes++;
    load->bytes += write->bytes;
    *(write->mailbox != NULL ? &writer->queued_online : &writer->queued_backfill) += 1;
    writer->submitted++;
    write->next = NULL;
    *writer->last = write;
    writer->last = &write->next;
    /* The first with a callback ends a wait for more backfill. */
    bool changes = write->mailbox != NULL && writer->queued_online == 1 && writer->queued_backfill > 0;
    if (writer->wanted != 0 && (changes || queued(writer) >= writer->wanted))
        uv_cond_signal(&writer->work);
}

/* Takes the next group off the queue. */
static struct sqlite_write *take_group(struct sqlite_writer *writer)
{
    struct sqlite_write *group = writer->first, **end = &group;
    size_t weight = 0, bytes = 0;
    while (*end != NULL) {
        struct sqlite_write *write = *end;
        bool online = write->mailbox != NULL;
        weight += write->count + 1;
        bytes += write->bytes;
        if (write != group &&
            (weight > (online ? GROUP_WEIGHT : GROUP_WEIGHT_BACKFILL) || bytes > GROUP_BYTES))
            break;
        *(online ? &writer->queued_online : &writer->queued_backfill) -= 1;
        end = &write->next;
    }
    writer->first = *end;
    if (writer->first == NULL)
        writer->last = &writer->first;
    *end = NULL;
    return group;
}

struct operation *sqlite_writer_submit(struct sqlite_writer *writer, struct sqlite_write *write)
{
    write->writer = writer;
    write->operation.cancel = write_cancel;
    write->started_us = clock_monotonic_us();
    uv_mutex_lock(&writer->lock);
    if (has_room(writer, write)) {
        enqueue(writer, write);
    } else {
        write->result = (struct upstream_result){.status = UPSTREAM_OVERLOADED, .retry_after_s = 1};
        post(write);
    }
    uv_mutex_unlock(&writer->lock);
    return &write->operation;
}

void sqlite_writer_queue(struct sqlite_writer *writer, struct sqlite_write *write)
{
    write->writer = writer;
    uv_mutex_lock(&writer->lock);
    while (!has_room(writer, write))
        uv_cond_wait(&writer->done, &writer->lock);
    enqueue(writer, write);
    uv_mutex_unlock(&writer->lock);
}

int sqlite_writer_wait(struct sqlite_writer *writer)
{
    uv_mutex_lock(&writer->lock);
    uint64_t ticket = writer->submitted;
    writer->hurry++;
    uv_cond_signal(&writer->work);
    while (writer->completed < ticket)
        uv_cond_wait(&writer->done, &writer->lock);
    writer->hurry--;
    int r = writer->silent_error;
    writer->silent_error = 0;
    uv_mutex_unlock(&writer->lock);
    return r;
}

/* --- the thread -------------------------------------------------------------------------------- */

/* Waits on `work` until `wanted` writes are queued, at most until `until_us`. Returns false when the time is
 * up. */
static bool wait_for(struct sqlite_writer *writer, size_t wanted, uint64_t until_us)
{
    uint64_t now = clock_monotonic_us();
    if (now >= until_us)
        return false;
    writer->wanted = wanted;
    uv_cond_timedwait(&writer->work, &writer->lock, (until_us - now) * 1000);
    writer->wanted = 0;
    return true;
}

/* Lets a group gather. */
static void gather(struct sqlite_writer *writer)
{
    uint64_t now = clock_monotonic_us();
    while (!writer->stopping && writer->hurry == 0 && writer->queued_online == 0 &&
           writer->queued_backfill < BACKFILL_ENOUGH)
        if (!wait_for(writer, BACKFILL_ENOUGH, now + BACKFILL_LINGER_US))
            break;
    uint64_t linger = writer->last_run_us / 2;
    size_t enough = writer->last_online / 2;
    if (linger > LINGER_MAX_US)
        linger = LINGER_MAX_US;
    while (!writer->stopping && writer->hurry == 0 && writer->queued_online < enough)
        if (!wait_for(writer, writer->queued_backfill + enough, now + linger))
            break;
}

/* Takes those that were given up out of a group and frees them. */
static struct sqlite_write *without_cancelled(struct sqlite_writer *writer, struct sqlite_write *group)
{
    struct sqlite_write **at = &group;
    while (*at != NULL) {
        struct sqlite_write *write = *at;
        if (!write->cancelled) {
            at = &write->next;
            continue;
        }
        struct load *load = load_of(writer, write);
        load->writes--;
        load->bytes -= write->bytes;
        *at = write->next;
        sqlite_write_free(write);
    }
    return group;
}

static void acknowledge(struct sqlite_writer *writer, struct sqlite_write *group)
{
    uint64_t now = clock_monotonic_us();
    writer->last_online = 0;
    while (group != NULL) {
        struct sqlite_write *write = group;
        group = write->next;
        struct load *load = load_of(writer, write);
        load->writes--;
        load->bytes -= write->bytes;
        if (write->mailbox != NULL && !write->cancelled) {
            writer->last_online++;
            write->result.elapsed_us = (unsigned long)(now - write->started_us);
            post(write);
            continue;
        }
        if (write->mailbox == NULL && write->result.status != UPSTREAM_OK)
            writer->silent_error = -EIO;
        sqlite_write_free(write);
    }
}

static void serve_group(struct sqlite_writer *writer)
{
    struct sqlite_write *group = take_group(writer);
    uint64_t ticket = writer->submitted - queued(writer); /* of the last one taken: the queue is in order */
    group = without_cancelled(writer, group);
    uv_mutex_unlock(&writer->lock);
    uint64_t run_us = group != NULL ? sqlite_group_run(writer->group, group) : 0;
    sqlite_feed_stored(&writer->db->feed, group, writer->group->newest);
    uv_mutex_lock(&writer->lock);
    acknowledge(writer, group);
    writer->last_run_us = run_us;
    writer->completed = ticket;
    uv_cond_broadcast(&writer->done);
    uv_mutex_unlock(&writer->lock);
    sqlite_group_checkpoint(writer->group);
    uv_mutex_lock(&writer->lock);
}

static void writer_main(void *ctx)
{
    struct sqlite_writer *writer = ctx;
    uv_mutex_lock(&writer->lock);
    while (!writer->stopping || writer->first != NULL) {
        if (writer->first != NULL) {
            gather(writer);
            serve_group(writer);
            continue;
        }
        uint64_t until = clock_monotonic_us() + IDLE_US;
        bool in_time = true;
        while (!writer->stopping && writer->first == NULL && in_time)
            in_time = wait_for(writer, 1, until);
        while (!writer->stopping && writer->first == NULL && !in_time) {
            uv_mutex_unlock(&writer->lock);
            bool more = sqlite_group_idle(writer->group);
            uv_mutex_lock(&writer->lock);
            in_time = !more;
        }
    }
    uv_mutex_unlock(&writer->lock);
}

/* --- life -------------------------------------------------------------------------------------- */

int sqlite_writer_new(struct sqlite_db *db, sqlite3 *connection, struct sqlite_writer **ret_writer)
{
    struct sqlite_group *group = NULL;
    int rc = sqlite_group_new(db, connection, &group);
    if (rc != SQLITE_OK)
        return (rc & 0xff) == SQLITE_NOMEM ? -ENOMEM : -EUCLEAN;
    int r = -ENOMEM;
    struct sqlite_writer *writer = calloc(1, sizeof *writer);
    if (writer == NULL)
        goto fail_group;
    writer->db = db;
    writer->group = group;
    writer->last = &writer->first;
    r = uv_mutex_init(&writer->lock);
    if (r != 0)
        goto fail_memory;
    r = uv_cond_init(&writer->work);
    if (r != 0)
        goto fail_lock;
    r = uv_cond_init(&writer->done);
    if (r != 0)
        goto fail_work;
    r = uv_thread_create(&writer->thread, writer_main, writer);
    if (r != 0)
        goto fail_done;
    *ret_writer = writer;
    return 0;

fail_done:
    uv_cond_destroy(&writer->done);
fail_work:
    uv_cond_destroy(&writer->work);
fail_lock:
    uv_mutex_destroy(&writer->lock);
fail_memory:
    free(writer);
fail_group:
    sqlite_group_free(group);
    return r;
}

void sqlite_writer_free(struct sqlite_writer *writer)
{
    if (writer == NULL)
        return;
    uv_mutex_lock(&writer->lock);
    writer->stopping = true;
    uv_cond_signal(&writer->work);
    uv_mutex_unlock(&writer->lock);
    uv_thread_join(&writer->thread);
    sqlite_group_free(writer->group);
    uv_cond_destroy(&writer->done);
    uv_cond_destroy(&writer->work);
    uv_mutex_destroy(&writer->lock);
    free(writer);
}
