/* test_device_runs.c: whole training runs of the program over the emulated GPU of tests/cuda: checkpoints that are
 * copied beside the training, and a run that was killed and goes on to the same bytes. */
#define SURVIVE_STEPS 6 /* an emulated step takes most of a second */
#include "cli/survive.h"

/* The copy of tensors that the host cannot read in place, over the emulated GPU of tests/cuda. */
static void test_a_device_is_saved_beside_the_training(void **state)
{
    (void)state;
    const char *more = "device=cuda train.freeze=[vision]";
    if (is_sanitized()) {
        skip_test("the emulated device takes minutes under a sanitizer; the release build runs this");
    }
    char *wait = tr_format("%s train.save_mode=wait", more), *resume = tr_format("%s --resume", more);
    run_program = TEMPR1_EMULATED;
    run_whole("device", more);
    run_whole("device-wait", wait); /* no copy: written from the device itself */
    same_runs("device", "device-wait");
    pid_t pid = run_start("device-killed", more);
    await_steps("device-killed", pid, 4);
    kill(pid, SIGKILL);
    run_wait(pid);
    run_whole("device-killed", resume);
    same_runs("device", "device-killed");
    run_program = TEMPR1_PROGRAM;
    free(wait);
    free(resume);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_device_is_saved_beside_the_training),
    };
    return cmocka_run_group_tests(tests, survive_make, NULL);
}
