/* fuzz_frames.c: what the parent believes of a decoder process and of the cache, the plan of packets, and resizing,
 * on arbitrary bytes. Modules: video
 *
 * The mutator starts from whole replies that it makes itself. Beside crashes and sanitizer findings it checks that
 * a believed reply gives a clip whose every frame, time and pixel can be read; that a plan decodes every chosen
 * frame and starts anew only with key frames; that both variants of resizing give the same bytes. */
#include "base/file.h"
#include "base/random.h"
#include "video/cache.h"
#include "video/plan.h"
#include "video/resize.h"
#include "video/wire.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(x) ((x) ? (void)0 : abort())

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);

static tr_video_cache cache;
static char folder[] = "/tmp/fuzz-frames-XXXXXX", video[64];

static void leave(void)
{
    tr_directory_remove(folder, NULL);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    CHECK(mkdtemp(folder));
    atexit(leave);
    snprintf(video, sizeof video, "%s/video.mp4", folder);
    CHECK(!tr_file_write_atomic(video, "x", 1, NULL) && !tr_video_cache_open(&cache, folder, 1 << 20, NULL));
    tr_video_set_worker("/nonexistent"); /* what is not believed would be decoded again */
    return 0;
}

/* The bytes as a cache entry, whole by its checksum, and the clip that comes out of it. */
static void entry(const uint8_t *data, size_t size)
{
    char key[40];
    tr_clip *clip = NULL;
    tr_error err = {0};
    tr_video_options o = tr_video_options_default();
    o.start_s = size % 2;                                /* parts and whole clips */
    if (!tr_wire_reply_holds(data, size) && size % 16) { /* now and then through the whole way */
        return;
    }
    CHECK(!tr_video_cache_key(video, &o, key, NULL));
    char path[120];
    uint64_t sum_of = tr_hash(data, size);
    snprintf(path, sizeof path, "%s/%s.clip", folder, key);
    FILE *file = fopen(path, "wb"); /* tr_video_cache_put waits for the disk */
    CHECK(file && fwrite(data, 1, size, file) == size && fwrite(&sum_of, sizeof sum_of, 1, file) == 1 &&
          !fclose(file));
    if (tr_clip_open(video, &o, &cache, &clip, &err)) {
        CHECK(err.code == TR_CHILD || err.code == TR_MEMORY);
        return;
    }
    double sum = 0;
    size_t pixels = (size_t)clip->frame_count * 3 * (size_t)clip->height * (size_t)clip->width;
    for (size_t i = 0; i < pixels; i++) {
        sum += clip->pixels[i];
    }
    for (int i = 0; i < clip->frame_count; i++) {
        CHECK(clip->frames[i] >= 0 && clip->frames[i] < clip->total_frames &&
              (!i || clip->frames[i] >= clip->frames[i - 1]));
        sum += clip->seconds[i];
    }
    CHECK(isfinite(sum) && clip->second_per_grid > 0);
    float *patches = malloc(((size_t)clip->patches + 1) * 1176 * sizeof *patches);
    CHECK(patches);
    tr_clip_patches(clip, patches, NULL);
    free(patches);
    tr_clip_free(clip);
}

/* Two bytes a packet: flags, and how far its time is from the one before. */
static void plan(const uint8_t *data, size_t size)
{
    tr_video_plan p = {0};
    int64_t frames[16], pts = 0;
    int count = 0;
    for (size_t i = 0; i + 1 < size && i < 2000; i += 2) {
        pts += (int8_t)data[i + 1];
        CHECK(!tr_video_plan_add(&p, data[i] == 255 ? INT64_MIN : pts, data[i] % 8 != 7, data[i] % 16 < 2, NULL));
    }
    if (tr_video_plan_holds(&p)) {
        for (size_t i = 0; i < size && count < 16; i += 1 + size / 7) {
            int64_t next = (int64_t)((size_t)data[i] % p.shown);
            if (!count || next >= frames[count - 1]) {
                frames[count++] = next;
            }
        }
        CHECK(!tr_video_plan_make(&p, frames, count, NULL) && p.end <= p.count);
        for (int i = 0; i < count; i++) {
            const tr_plan_packet *packet = &p.packets[p.order[frames[i]]];
            CHECK(packet->chosen && packet->send && tr_video_plan_pts(&p, frames[i]) == packet->pts);
        }
        for (size_t i = 0; i < p.count; i++) {
            CHECK(!p.packets[i].jump || (p.packets[i].key && p.packets[i].send && i < p.end));
            CHECK(!p.packets[i].send || i < p.end);
        }
    }
    tr_video_plan_free(&p);
}

static void resize(const uint8_t *data, size_t size)
{
    int h = 1 + data[0] % 40, w = 1 + data[1] % 40, oh = 1 + data[2] % 60, ow = 1 + data[3] % 60;
    uint8_t *in = calloc((size_t)h * (size_t)w, 3), *a = malloc((size_t)oh * (size_t)ow * 3),
            *b = malloc((size_t)oh * (size_t)ow * 3);
    CHECK(in && a && b);
    memcpy(in, data + 4, size - 4 < (size_t)h * (size_t)w * 3 ? size - 4 : (size_t)h * (size_t)w * 3);
    CHECK(!tr_video_resize(in, h, w, 3 * w, a, oh, ow, NULL));
    setenv("TEMPR1_ISA", "scalar", 1);
    CHECK(!tr_video_resize(in, h, w, 3 * w, b, oh, ow, NULL));
    unsetenv("TEMPR1_ISA");
    CHECK(!memcmp(a, b, (size_t)oh * (size_t)ow * 3));
    free(in);
    free(a);
    free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 8) {
        return 0;
    }
    switch (data[0] % 4) {
    case 0:
    case 1:
        entry(data + 8, size - 8);
        break;
    case 2:
        plan(data + 8, size - 8);
        break;
    default:
        resize(data + 1, size - 1);
    }
    tr_wire_request_holds(data + 8, size - 8);
    return 0;
}

/* A whole reply of one to four frames behind the eight bytes that choose what is tested. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
    int count = 1 + (int)(seed % 4), side = seed % 3 ? 28 : 14;
    size_t bytes = tr_wire_bytes(count, side, 28);
    if (seed % 5 == 0 && most >= bytes + 8) {
        tr_wire_reply head = {.magic = TR_WIRE_MAGIC,
                              .version = TR_WIRE_VERSION,
                              .count = count,
                              .total_frames = 9,
                              .fps = 10,
                              .duration_s = 0.9,
                              .source_height = 3,
                              .source_width = 3,
                              .height = side,
                              .width = 28,
                              .bytes = bytes};
        memset(data, 0, bytes + 8);
        memcpy(data + 8, &head, sizeof head);
        if (seed % 7 == 0) {
            return bytes + 8;
        }
        size_t part = 8 + sizeof head + 16 * (size_t)count; /* header, numbers, times: not the pixels */
        data[8 + seed / 64 % (part - 8)] ^= (uint8_t)(1 << seed / 16 % 8);
        return bytes + 8;
    }
    return LLVMFuzzerMutate(data, size, most);
}
