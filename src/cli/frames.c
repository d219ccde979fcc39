/* frames.c: the command `tempr1 frames`: the clock of one video, and its pixels on request. */
#include "base/memory.h"
#include "cli/cli.h"
#include "model/safetensors.h"
#include "video/clip.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

extern const tr_command tr_command_frames;

static json_t *clip_json(const tr_clip *clip)
{
    json_t *frames = json_array(), *seconds = json_array(), *presentation = json_array();
    for (int i = 0; i < clip->frame_count; i++) {
        json_array_append_new(frames, json_integer(clip->frames[i]));
        json_array_append_new(seconds, json_real(clip->seconds[i]));
        json_array_append_new(presentation, json_real(clip->pts_s[i]));
    }
    return json_pack("{s:s, s:I, s:f, s:f, s:f, s:o, s:o, s:o, s:f, s:f, s:[i,i,i], s:I, s:i, s:i, s:i, s:i}",
                     "video", clip->path, "total_frames", (json_int_t)clip->total_frames, "fps", clip->fps,
                     "duration", clip->duration_s, "start", clip->start_s, "frames", frames, "seconds", seconds,
                     "presentation_seconds", presentation, "sampled_fps", clip->sampled_fps, "second_per_grid",
                     clip->second_per_grid, "grid", clip->grid_t, clip->grid_h, clip->grid_w, "tokens",
                     (json_int_t)clip->tokens, "source_height", clip->source_height, "source_width",
                     clip->source_width, "height", clip->height, "width", clip->width);
}

static tr_status print_clip(const tr_clip *clip, bool as_json, tr_error *err)
{
    if (as_json) {
        json_t *value = clip_json(clip);
        tr_status status = value ? tr_cli_print_json(value, err) : tr_fail(err, TR_MEMORY, NULL, "no memory");
        json_decref(value);
        return status;
    }
    printf(
        "video            %s\nshown            %lld frames, %.6g per second, %.3f s, %dx%d\n"
        "taken            %d frames of %dx%d, %.6g per second\ngrid             %d x %d x %d patches, %.6g s each\n"
        "tokens           %lld\n\n  frame     seconds\n",
        clip->path, (long long)clip->total_frames, clip->fps, clip->duration_s, clip->source_width,
        clip->source_height, clip->frame_count, clip->width, clip->height, clip->sampled_fps, clip->grid_t,
        clip->grid_h, clip->grid_w, clip->second_per_grid, (long long)clip->tokens);
    for (int i = 0; i < clip->frame_count; i++) {
        printf("%7lld  %10.3f\n", (long long)clip->frames[i], clip->seconds[i]);
    }
    return fflush(stdout) ? tr_fail(err, TR_IO, NULL, "cannot write to stdout") : TR_OK;
}

static tr_status write_pixels(const tr_clip *clip, const char *path, tr_error *err)
{
    tr_status status = TR_OK;
    tr_safetensors_builder builder = {0};
    float *patches = tr_calloc((size_t)clip->patches, 1176 * sizeof *patches);
    if (!patches) {
        return tr_fail(err, TR_MEMORY, path, "no memory for %lld patches", (long long)clip->patches);
    }
    TR_TRY(tr_clip_patches(clip, patches, err));
    TR_TRY(tr_safetensors_builder_add(&builder, "frames", TR_U8, 4,
                                      (int64_t[]){clip->frame_count, 3, clip->height, clip->width}, clip->pixels,
                                      err));
    TR_TRY(tr_safetensors_builder_add(&builder, "pixel_values", TR_F32, 2, (int64_t[]){clip->patches, 1176},
                                      patches, err));
    TR_TRY(tr_safetensors_builder_write(&builder, path, err));
done:
    tr_safetensors_builder_free(&builder);
    free(patches);
    return status;
}

static int run(int argc, char **argv)
{
    tr_video_options o = tr_video_options_default();
    int64_t min_frames = o.min_frames, max_frames = o.max_frames;
    bool as_json = false;
    const char *out = NULL;
    const tr_option options[] = {
        {"fps", TR_OPTION_DOUBLE, &o.fps, "X", "Frames taken per second (2).", 1e-6, 1e6, false},
        {"min-frames", TR_OPTION_INT, &min_frames, "N", "At least so many (4).", 1, 1e6, false},
        {"max-frames", TR_OPTION_INT, &max_frames, "N", "At most so many (448).", 2, 1e6, false},
        {"total-pixels", TR_OPTION_INT, &o.total_pixels, "N", "Pixels of all frames, pairs counted once (2809856).",
         1, 1e12, false},
        {"min-pixels", TR_OPTION_INT, &o.min_pixels, "N", "Pixels of one frame at least (12544).", 1, 1e9, false},
        {"start", TR_OPTION_DOUBLE, &o.start_s, "S", "Take the part from this second (0).", 0, 1e9, false},
        {"end", TR_OPTION_DOUBLE, &o.end_s, "S", "Take the part to this second (the end).", 0, 1e9, false},
        {"time-limit", TR_OPTION_DOUBLE, &o.time_limit_s, "S", "Stop a decoder that takes longer (300; 0: never).",
         0, 1e9, false},
        {"out", TR_OPTION_TEXT, &out, "FILE", "Write frames and pixel_values as safetensors.", 0, 0, false},
        {"json", TR_OPTION_FLAG, &as_json, NULL, "Print one JSON object.", 0, 0, false},
        {0}};
    char **positional;
    int count, left = tr_cli_parse(&tr_command_frames, options, argc, argv, 1, 1, &positional, &count);
    if (left >= 0) {
        return left;
    }
    o.min_frames = (int)min_frames;
    o.max_frames = (int)max_frames;
    tr_error err = {0};
    tr_clip *clip = NULL;
    tr_status status = TR_OK;
    tr_video_workers_prepare();
    TR_TRY(tr_clip_open(positional[0], &o, NULL, &clip, &err));
    if (out) {
        TR_TRY(write_pixels(clip, out, &err));
    }
    TR_TRY(print_clip(clip, as_json, &err));
done:
    tr_clip_free(clip);
    tr_video_workers_stop();
    return status == TR_OK ? TR_EXIT_DONE : tr_cli_fail(&tr_command_frames, &err);
}

const tr_command tr_command_frames = {
    .name = "frames",
    .arguments = "VIDEO [options]",
    .summary = "the clock of a video: frames taken, seconds, grid, tokens",
    .text =
        "Prints which frames of a video the model would see, and when they are shown. --out writes their pixels\n"
        "(uint8 frames, f32 pixel_values).\n\nexample: tempr1 frames clip.mp4 --fps 1 --json",
    .run = run,
};
