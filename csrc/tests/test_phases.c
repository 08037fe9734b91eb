/* Buckets against the numbers themselves, and readers beside a writer. */
#include "check.h"

#include <pthread.h>

#include "dicore/phases.h"

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static int compare(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void quantiles_are_those_of_the_numbers(void)
{
    static uint64_t numbers[10000];
    uint64_t state = 88172645463325252u;
    for (size_t count = 1; count <= 10000; count *= 10) {
        dicore_times times = {0};
        dicore_time_summary got;
        uint64_t sum = 0;
        for (size_t i = 0; i < count; i++) {
            numbers[i] = next_random(&state) >> (26 + next_random(&state) % 34);
            sum += numbers[i];
            dicore_times_add(&times, numbers[i]);
        }
        qsort(numbers, count, sizeof *numbers, compare);
        dicore_times_summary(&times, &got);
        CHECK_EQ(got.count, count);
        CHECK_EQ(times.sum, sum);
        CHECK_EQ(got.longest, numbers[count - 1]);
        const uint64_t half = numbers[(count + 1) / 2 - 1], most = numbers[(count * 99 + 99) / 100 - 1];
        CHECK(got.p50 >= half && got.p50 <= (half < 256 ? 256 : half + half / 4) && got.p50 <= got.longest);
        CHECK(got.p99 >= most && got.p99 <= (most < 256 ? 256 : most + most / 4) && got.p99 <= got.longest);
    }
}

static void the_ends_have_their_buckets(void)
{
    dicore_times times = {0};
    dicore_time_summary got;
    dicore_times_summary(&times, &got);
    CHECK(!got.count && !got.p50 && !got.p99 && !got.longest);
    dicore_times_add(&times, 0);
    CHECK_EQ(times.buckets[0], 1);
    dicore_times_add(&times, 255);
    CHECK_EQ(times.buckets[0], 2);
    dicore_times_add(&times, 256);
    CHECK_EQ(times.buckets[1], 1);
    dicore_times_add(&times, ((uint64_t)1 << DICORE_PHASE_LAST) - 1);
    CHECK_EQ(times.buckets[DICORE_PHASE_BUCKETS - 2], 1);
    dicore_times_add(&times, (uint64_t)1 << DICORE_PHASE_LAST);
    dicore_times_add(&times, UINT64_MAX);
    CHECK_EQ(times.buckets[DICORE_PHASE_BUCKETS - 1], 2);
    dicore_times_summary(&times, &got);
    CHECK_EQ(got.count, 6);
    CHECK(got.longest == UINT64_MAX && got.p99 == UINT64_MAX);
}

enum { MANY = 200000 };

static void *add_many(void *times)
{
    for (uint64_t i = 0; i < MANY; i++)
        dicore_times_add(times, i);
    return NULL;
}

static void a_reader_beside_the_writer_sees_it_grow(void)
{
    static dicore_times times;
    pthread_t writer;
    uint64_t before = 0;
    pthread_create(&writer, NULL, add_many, &times);
    for (int i = 0; i < 1000; i++) {
        dicore_times copy = {0};
        dicore_times_merge(&copy, &times);
        CHECK(copy.count >= before && copy.count <= MANY);
        before = copy.count;
    }
    pthread_join(writer, NULL);
    dicore_times both = {0};
    dicore_times_merge(&both, &times);
    dicore_times_merge(&both, &times);
    CHECK_EQ(both.count, 2 * MANY);
    CHECK_EQ(both.longest, MANY - 1);
}

int main(void)
{
    quantiles_are_those_of_the_numbers();
    the_ends_have_their_buckets();
    a_reader_beside_the_writer_sees_it_grow();
    return check_result("phases");
}
