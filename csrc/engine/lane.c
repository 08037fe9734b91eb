/* The helper threads: what writes megabytes or waits for a sync is done here, so that the network threads do not wait. */
#include "engine/internal.h"

static void work_on(dicore_engine *e, stream *s)
{
    s->status = DICORE_OK;
    s->outcome = DICORE_STORED;
    if (!s->begun) {
        const dicore_instance instance = {
            .sop_class = {s->token->sop_class, s->token->class_size},
            .sop_instance = {s->token->sop_instance, s->token->instance_size},
            .transfer_syntax = {s->transfer_syntax, s->syntax_size},
            .source_ae = {s->source_ae, s->source_size},
        };
        s->status = dicore_lane_begin(e->options.store, &instance, &s->lane, &s->error);
        if (s->status != DICORE_OK)
            return;
        s->begun = true;
    }
    if (s->piece_count)
        s->status = dicore_lane_write(&s->lane, s->pieces, s->piece_count, &s->error);
    if (s->status != DICORE_OK) {
        dicore_lane_abort(&s->lane);
        s->begun = false;
    } else if (s->commit) {
        s->begun = false;
        s->status = dicore_lane_commit(&s->lane, &s->outcome, &s->error);
        if (s->status == DICORE_OK && s->outcome == DICORE_STORED && e->options.lane_stored)
            e->options.lane_stored(e->options.context, s->lane.info.id);
    }
}

static void *help(void *argument)
{
    dicore_engine *e = argument;
    pthread_mutex_lock(&e->jobs_lock);
    for (;;) {
        while (!e->jobs && !e->jobs_stop)
            pthread_cond_wait(&e->jobs_there, &e->jobs_lock);
        stream *s = e->jobs;
        if (!s)
            break;
        e->jobs = s->next_job;
        if (!e->jobs)
            e->jobs_end = &e->jobs;
        pthread_mutex_unlock(&e->jobs_lock);
        work_on(e, s);
        thread_post(s->peer->thread, &s->item);
        pthread_mutex_lock(&e->jobs_lock);
    }
    pthread_mutex_unlock(&e->jobs_lock);
    return NULL;
}

void helpers_submit(dicore_engine *e, stream *s)
{
    s->item.kind = ITEM_LANE;
    s->next_job = NULL;
    pthread_mutex_lock(&e->jobs_lock);
    *e->jobs_end = s;
    e->jobs_end = &s->next_job;
    pthread_cond_signal(&e->jobs_there);
    pthread_mutex_unlock(&e->jobs_lock);
}

dicore_status helpers_start(dicore_engine *e)
{
    e->jobs_end = &e->jobs;
    pthread_mutex_init(&e->jobs_lock, NULL);
    pthread_cond_init(&e->jobs_there, NULL);
    for (unsigned i = 0; i < HELPERS && e->options.store; i++) {
        if (pthread_create(&e->helpers[i], NULL, help, e) != 0)
            return DICORE_IO;
        e->helper_count++;
    }
    return DICORE_OK;
}

void helpers_stop(dicore_engine *e)
{
    pthread_mutex_lock(&e->jobs_lock);
    e->jobs_stop = true;
    pthread_cond_broadcast(&e->jobs_there);
    pthread_mutex_unlock(&e->jobs_lock);
    for (unsigned i = 0; i < e->helper_count; i++)
        pthread_join(e->helpers[i], NULL);
    pthread_cond_destroy(&e->jobs_there);
    pthread_mutex_destroy(&e->jobs_lock);
}
