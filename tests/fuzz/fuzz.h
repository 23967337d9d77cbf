/* What a fuzzer is: tests/fuzz/fuzz_<thing>.c defines LLVMFuzzerTestOneInput(), and may define
 * fuzz_seeds().
 *
 * With clang and QUIRE_FUZZ it is linked with libFuzzer, which knows coverage. Everywhere else
 * standalone.c gives it a main() that feeds it random mutations of its seeds:
 *
 *   fuzz_text -runs=20000 -seed=1 -max_total_time=60    mutations; stops at what comes first
 *   fuzz_text crash-1-4711                              the inputs in these files, each once
 *   fuzz_text -runs=1000 corpus/                        mutations of the files in a folder, and of
 * the seeds
 *
 * A finding is a crash: the fuzzer checks what must hold with assert() or abort().
 */
#ifndef QUIRE_TESTS_FUZZ_H
#define QUIRE_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

struct fuzz_seed {
    const void *data;
    size_t size;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Optional: valid inputs to start from. They must live as long as the process. Called once. */
const struct fuzz_seed *fuzz_seeds(size_t *count) __attribute__((weak));

/* A seed from a string literal, zero bytes inside it included. */
#define FUZZ_SEED(text)                                                                            \
    {                                                                                              \
        (text), sizeof(text) - 1                                                                   \
    }

#endif
