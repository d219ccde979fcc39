/* test_events.c: event files read back by a parser of this test's own: CRC by its published values and another
 * algorithm, frames and messages by walking the bytes. And what is cut when a run goes on. */
#include "support/shared.h"

#include "base/file.h"
#include "base/random.h"
#include "run/events.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- an independent reader ---- */

static uint32_t table_crc(const unsigned char *p, size_t n)
{
    static uint32_t table[256];
    if (!table[1]) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i;
            for (int k = 0; k < 8; k++) {
                c = c & 1 ? c >> 1 ^ 0x82f63b78u : c >> 1;
            }
            table[i] = c;
        }
    }
    uint32_t c = ~0u;
    while (n--) {
        c = table[(c ^ *p++) & 255] ^ c >> 8;
    }
    return ~c;
}

static uint32_t unmask(uint32_t masked)
{
    uint32_t rotated = masked - 0xa282ead8u;
    return rotated >> 17 | rotated << 15;
}

static uint64_t little(const unsigned char *p, int n)
{
    return n ? little(p + 1, n - 1) << 8 | *p : 0;
}

static uint64_t varint(const unsigned char **p)
{
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
        unsigned char byte = *(*p)++;
        value |= (uint64_t)(byte & 127) << shift;
        if (!(byte & 128)) {
            return value;
        }
    }
}

typedef struct event {
    double wall_s;
    int64_t step;
    char version[32];
    int start; /* session_log.status */
    int values;
    char tags[64][64];
    float numbers[64];
} event;

static void read_value(const unsigned char *p, const unsigned char *end, event *e)
{
    while (p < end) {
        uint64_t key = varint(&p);
        if (key == (1 << 3 | 2)) {
            uint64_t n = varint(&p);
            memcpy(e->tags[e->values], p, n);
            e->tags[e->values][n] = 0;
            p += n;
        } else {
            assert_int_equal(key, 2 << 3 | 5);
            uint32_t bits = (uint32_t)little(p, 4);
            memcpy(&e->numbers[e->values], &bits, 4);
            p += 4;
        }
    }
    e->values++;
}

static void read_event(const unsigned char *p, const unsigned char *end, event *e)
{
    memset(e, 0, sizeof *e);
    while (p < end) {
        uint64_t key = varint(&p), n;
        switch (key) {
        case 1 << 3 | 1:
            n = little(p, 8);
            memcpy(&e->wall_s, &n, 8);
            p += 8;
            break;
        case 2 << 3 | 0:
            e->step = (int64_t)varint(&p);
            break;
        case 3 << 3 | 2:
            n = varint(&p);
            memcpy(e->version, p, n);
            p += n;
            break;
        case 5 << 3 | 2:
            n = varint(&p);
            for (const unsigned char *stop = p + n; p < stop;) {
                assert_int_equal(varint(&p), 1 << 3 | 2);
                n = varint(&p);
                read_value(p, p + n, e);
                p += n;
            }
            break;
        case 7 << 3 | 2:
            n = varint(&p);
            assert_int_equal(n, 2);
            assert_int_equal(p[0], 1 << 3);
            e->start = p[1];
            p += n;
            break;
        default:
            fail_msg("field %d of kind %d is not one of an event", (int)(key >> 3), (int)(key & 7));
        }
    }
    assert_ptr_equal(p, end);
}

/* All events of a file; the frames must fill it exactly. */
static size_t read_file(const char *path, event *events, size_t most)
{
    tr_buffer text = {0};
    size_t count = 0;
    assert_int_equal(tr_file_read(path, 0, &text, NULL), TR_OK);
    const unsigned char *p = (const unsigned char *)text.data, *end = p + text.length;
    while (p < end) {
        assert_true(end - p >= 16 && count < most);
        uint64_t n = little(p, 8);
        assert_int_equal(unmask((uint32_t)little(p + 8, 4)), table_crc(p, 8));
        assert_true(n <= (uint64_t)(end - p) - 16);
        assert_int_equal(unmask((uint32_t)little(p + 12 + n, 4)), table_crc(p + 12, n));
        read_event(p + 12, p + 12 + n, &events[count++]);
        p += n + 16;
    }
    tr_buffer_free(&text);
    return count;
}

/* ---- tests ---- */

static void test_crc(void **state)
{
    (void)state;
    unsigned char bytes[300] = {0};
    assert_int_equal(tr_crc32c("123456789", 9), 0xe3069283u); /* the check value of CRC-32C */
    assert_int_equal(tr_crc32c(bytes, 32), 0x8a9136aau);      /* RFC 3720, B.4: 32 bytes of zeros, */
    memset(bytes, 0xff, 32);
    assert_int_equal(tr_crc32c(bytes, 32), 0x62a8ab43u); /* of ones, */
    for (unsigned i = 0; i < 32; i++) {
        bytes[i] = (unsigned char)i;
    }
    assert_int_equal(tr_crc32c(bytes, 32), 0x46dd794eu); /* and counting up */
    for (uint32_t n = 0; n < 300; n++) {
        bytes[n] = (unsigned char)tr_random_below(1, n, 0, 0, 0, 256);
        assert_int_equal(tr_crc32c(bytes, n), table_crc(bytes, n));
        assert_int_equal(unmask(tr_crc32c_masked(bytes, n)), table_crc(bytes, n));
    }
}

static json_t *numbers_at(int64_t step)
{
    return json_pack("{s:I, s:f, s:{s:f, s:{s:i}}, s:n, s:s, s:b, s:[i]}", "step", (json_int_t)step, "reward",
                     0.1 * (double)step, "tasks", "kl", 1e-30, "deep", "count", -3, "nothing", "name", "text",
                     "flag", 1, "list", 4);
}

static void add_steps(const char *folder, int64_t from, int64_t to)
{
    tr_events events;
    assert_int_equal(tr_events_open(&events, folder, from - 1, NULL), TR_OK);
    for (int64_t step = from; step <= to; step++) {
        json_t *numbers = numbers_at(step);
        assert_int_equal(tr_events_add(&events, step, numbers, NULL), TR_OK);
        json_decref(numbers);
    }
    assert_int_equal(tr_events_close(&events, NULL), TR_OK);
}

/* The event files of a folder, oldest first; the caller frees the names. */
static size_t files_of(const char *folder, char ***names)
{
    size_t count;
    assert_int_equal(tr_directory_list(folder, names, &count, NULL), TR_OK);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(strncmp((*names)[i], "events.out.tfevents.", 20), 0);
    }
    return count;
}

static size_t read_number(const char *folder, size_t number, size_t expected_files, event *events, size_t most)
{
    char **names, path[1024];
    size_t count = files_of(folder, &names);
    assert_int_equal(count, expected_files);
    snprintf(path, sizeof path, "%s/%s", folder, names[number]);
    tr_names_free(names, count);
    return read_file(path, events, most);
}

static const char *fresh(const char *name)
{
    const char *folder = scratch_path(name);
    assert_int_equal(tr_directory_remove(folder, NULL), TR_OK);
    assert_int_equal(tr_directory_make(folder, NULL), TR_OK);
    return folder;
}

static void test_what_is_written(void **state)
{
    (void)state;
    static event e[400];
    char folder[512];
    snprintf(folder, sizeof folder, "%s", fresh("written"));
    add_steps(folder, 1, 300); /* steps of one and of two bytes */
    assert_int_equal(read_number(folder, 0, 1, e, 400), 301);
    assert_string_equal(e[0].version, "brain.Event:2");
    assert_int_equal(e[0].values, 0);
    for (int i = 1; i <= 300; i++) {
        assert_int_equal(e[i].step, i);
        assert_true(e[i].wall_s > 1.5e9 && e[i].wall_s >= e[i - 1].wall_s);
        assert_int_equal(e[i].values, 4);
        assert_string_equal(e[i].tags[0], "reward");
        assert_true(e[i].numbers[0] == (float)(0.1 * i));
        assert_string_equal(e[i].tags[1], "tasks/kl");
        assert_true(e[i].numbers[1] == 1e-30f);
        assert_string_equal(e[i].tags[2], "tasks/deep/count");
        assert_true(e[i].numbers[2] == -3);
        assert_string_equal(e[i].tags[3], "flag");
        assert_true(e[i].numbers[3] == 1);
    }
}

static void test_going_on(void **state)
{
    (void)state;
    static event e[40];
    char folder[512];
    snprintf(folder, sizeof folder, "%s", fresh("resumed"));
    add_steps(folder, 1, 10);
    add_steps(folder, 8, 12); /* resumed behind step 7 */
    assert_int_equal(read_number(folder, 0, 2, e, 40), 8);
    assert_int_equal(e[7].step, 7);
    assert_int_equal(read_number(folder, 1, 2, e, 40), 7);
    assert_int_equal(e[1].start, 1); /* TensorBoard forgets what it read from step 8 on */
    assert_int_equal(e[1].step, 8);
    assert_int_equal(e[2].step, 8);
    assert_int_equal(e[6].step, 12);
    add_steps(folder, 3, 4); /* further back: the second file has nothing left */
    assert_int_equal(read_number(folder, 0, 2, e, 40), 3);
    assert_int_equal(read_number(folder, 1, 2, e, 40), 4);
    assert_int_equal(e[3].step, 4);
    add_steps(folder, 1, 2); /* from the beginning */
    assert_int_equal(read_number(folder, 0, 1, e, 40), 3);
    assert_int_equal(e[1].step, 1);
}

/* A crash may end a file anywhere; a disk may turn bits. */
static void test_damage_is_cut(void **state)
{
    (void)state;
    static event e[40];
    tr_buffer whole = {0};
    char folder[512], path[1024], **names;
    snprintf(folder, sizeof folder, "%s", fresh("damaged"));
    add_steps(folder, 1, 6);
    size_t count = files_of(folder, &names);
    snprintf(path, sizeof path, "%s/%s", folder, names[0]);
    tr_names_free(names, count);
    assert_int_equal(tr_file_read(path, 0, &whole, NULL), TR_OK);
    size_t frame = (whole.length - (9 + 2 + 15 + 16)) / 6; /* the version's event holds 26 bytes */
    for (size_t lost = 1; lost <= frame; lost += lost < 20 ? 1 : 7) {
        assert_int_equal(tr_directory_remove(folder, NULL), TR_OK);
        assert_int_equal(tr_directory_make(folder, NULL), TR_OK);
        assert_int_equal(tr_file_write_atomic(path, whole.data, whole.length - lost, NULL), TR_OK);
        add_steps(folder, 7, 7);
        assert_int_equal(read_number(folder, 0, 2, e, 40), 6); /* steps 1 to 5 */
    }
    assert_int_equal(tr_directory_remove(folder, NULL), TR_OK);
    assert_int_equal(tr_directory_make(folder, NULL), TR_OK);
    whole.data[whole.length - 2 * frame - 20] ^= 4; /* in step 4 */
    assert_int_equal(tr_file_write_atomic(path, whole.data, whole.length, NULL), TR_OK);
    add_steps(folder, 7, 7);
    assert_int_equal(read_number(folder, 0, 2, e, 40), 4);
    tr_buffer_free(&whole);
}

/* A run that has nothing more to do leaves no file behind. */
static void test_nothing_added_makes_no_file(void **state)
{
    (void)state;
    tr_events events;
    char **names, folder[512];
    snprintf(folder, sizeof folder, "%s", fresh("nothing"));
    add_steps(folder, 1, 3);
    assert_int_equal(tr_events_open(&events, folder, 3, NULL), TR_OK);
    assert_int_equal(tr_events_close(&events, NULL), TR_OK);
    size_t count = files_of(folder, &names);
    assert_int_equal(count, 1);
    tr_names_free(names, count);
}

static void test_a_folder_that_is_not_there(void **state)
{
    (void)state;
    tr_events events;
    tr_error err = {0};
    assert_int_not_equal(tr_events_open(&events, scratch_path("absent"), 0, &err), TR_OK);
    assert_true(err.message[0]);
    assert_int_equal(tr_events_close(&events, NULL), TR_OK);
    assert_int_equal(tr_events_close(NULL, NULL), TR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc),
        cmocka_unit_test(test_what_is_written),
        cmocka_unit_test(test_going_on),
        cmocka_unit_test(test_damage_is_cut),
        cmocka_unit_test(test_nothing_added_makes_no_file),
        cmocka_unit_test(test_a_folder_that_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
