/* A main() for fuzzers where libFuzzer is not: see fuzz.h. Deterministic: the same seed and the
 * same inputs give the same runs. When an input crashes the process, or takes longer than
 * INPUT_SECONDS, it is written to crash-SEED-RUN in the working folder before the process dies. */
#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define INPUT_SECONDS 60
#define SEEDS_MAX 4096
#define FILE_MAX_BYTES (64u << 20)
#define MUTATIONS_MAX 8 /* of one input */

/* Sanitizers, if the program was built with them, end with SIGABRT after their report, and so pass
 * by on_signal(). */
const char *__asan_default_options(void);
const char *__ubsan_default_options(void);

const char *__asan_default_options(void)
{
    return "abort_on_error=1";
}

const char *__ubsan_default_options(void)
{
    return "abort_on_error=1:print_stacktrace=1";
}

static struct {
    uint64_t seed;
    uint64_t run;
    const uint8_t *data; /* the input that is running */
    size_t size;
    bool dumped;
} current;

static void dump(void)
{
    if (current.dumped || !current.data)
        return;
    current.dumped = true;
    char path[64];
    snprintf(path, sizeof path, "crash-%llu-%llu", (unsigned long long)current.seed,
             (unsigned long long)current.run);
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (file < 0)
        return;
    for (size_t at = 0; at < current.size;) {
        ssize_t wrote = write(file, current.data + at, current.size - at);
        if (wrote <= 0)
            break;
        at += (size_t)wrote;
    }
    close(file);
    dprintf(2, "crashing input: %s (%zu bytes, seed %llu, run %llu)\n", path, current.size,
            (unsigned long long)current.seed, (unsigned long long)current.run);
}

static void on_signal(int number)
{
    if (number == SIGALRM)
        dprintf(2, "an input takes longer than %d seconds\n", INPUT_SECONDS);
    dump();
    signal(number, SIG_DFL);
    raise(number);
}

static void catch_crashes(void)
{
    /* Sanitizers report these by themselves, better than we could. */
    const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    struct sigaction old;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        if (sigaction(faults[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
            signal(faults[i], on_signal);
    signal(SIGABRT, on_signal);
    signal(SIGALRM, on_signal);
}

/* The input is copied to a block of exactly its size, so that reading behind it shows. */
static void run_input(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        abort();
    memcpy(copy, data, size);
    current.data = copy;
    current.size = size;
    alarm(INPUT_SECONDS);
    LLVMFuzzerTestOneInput(copy, size);
    alarm(0);
    current.data = NULL;
    free(copy);
}

/* ---- mutations ---- */

static uint64_t state;

static uint64_t random64(void) /* splitmix64 */
{
    uint64_t z = state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static size_t below(size_t limit)
{
    return limit ? (size_t)(random64() % limit) : 0;
}

struct input {
    uint8_t *data;
    size_t size, most;
};

static void insert(struct input *input, size_t at, const uint8_t *bytes, size_t size)
{
    if (size > input->most - input->size)
        size = input->most - input->size;
    memmove(input->data + at + size, input->data + at, input->size - at);
    memmove(input->data + at, bytes, size);
    input->size += size;
}

/* Overwrites up to eight bytes with a number that lies at an edge. */
static void edge_number(struct input *input)
{
    static const uint64_t edges[] = {0,          1,           0x7F,   0x80,       0xFF,
                                     0x7FFF,     0x8000,      0xFFFF, 0x7FFFFFFF, 0x80000000,
                                     0xFFFFFFFF, UINT64_MAX,  16,     1 << 20,    1 << 24,
                                     INT64_MAX,  (1ull << 32)};
    uint64_t value =
        edges[below(sizeof edges / sizeof *edges)] + (below(4) == 0 ? random64() % 3 - 1 : 0);
    size_t width = (size_t)1 << below(4), at = below(input->size);
    bool big = below(2);
    for (size_t i = 0; i < width && at + i < input->size; i++)
        input->data[at + i] = (uint8_t)(value >> 8 * (big ? width - 1 - i : i));
}

static void mutate(struct input *input, const struct fuzz_seed *other)
{
    static const char marks[] = "`*_~$\\[](){}<>&|#:!\"'-+=.,;/ \n\t0aZ";
    uint8_t bytes[16];
    size_t at = below(input->size + 1), size = 1 + below(sizeof bytes);
    size_t left = input->size - at;
    if (input->size == 0) {
        bytes[0] = (uint8_t)random64();
        insert(input, 0, bytes, 1);
        return;
    }
    switch (below(10)) {
    case 0:
        input->data[below(input->size)] ^= (uint8_t)(1u << below(8));
        break;
    case 1:
        input->data[below(input->size)] = (uint8_t)random64();
        break;
    case 2: /* remove some */
        size = size < left ? size : left;
        memmove(input->data + at, input->data + at + size, left - size);
        input->size -= size;
        break;
    case 3:
        for (size_t i = 0; i < size; i++)
            bytes[i] = (uint8_t)random64();
        insert(input, at, bytes, size);
        break;
    case 4: { /* the same mark again and again */
        uint8_t mark = (uint8_t)marks[below(sizeof marks - 1)];
        memset(bytes, mark, sizeof bytes);
        insert(input, at, bytes, size);
        break;
    }
    case 5: /* repeat a piece */
        size = left < 256 ? left : 1 + below(256);
        if (size <= left && size <= input->most - input->size) {
            uint8_t piece[256];
            memcpy(piece, input->data + at, size);
            insert(input, below(input->size), piece, size);
        }
        break;
    case 6: /* a piece of another seed */
        if (other->size > 0) {
            size_t from = below(other->size);
            insert(input, at, (const uint8_t *)other->data + from, 1 + below(other->size - from));
        }
        break;
    case 7:
        input->size = at; /* truncate */
        break;
    case 8:
        edge_number(input);
        break;
    case 9:
        bytes[0] = (uint8_t)marks[below(sizeof marks - 1)];
        insert(input, at, bytes, 1);
        break;
    }
}

/* ---- inputs ---- */

static struct fuzz_seed seeds[SEEDS_MAX];
static size_t seed_count;

static bool read_file(const char *path, struct fuzz_seed *out)
{
    struct stat info;
    int file = open(path, O_RDONLY);
    if (file < 0 || fstat(file, &info) || !S_ISREG(info.st_mode) ||
        info.st_size > (off_t)FILE_MAX_BYTES) {
        if (file >= 0)
            close(file);
        return false;
    }
    size_t size = (size_t)info.st_size, got = 0;
    uint8_t *data = malloc(size ? size : 1);
    for (ssize_t n = 1; data && got < size && n > 0;) {
        n = read(file, data + got, size - got);
        got += n > 0 ? (size_t)n : 0;
    }
    close(file);
    *out = (struct fuzz_seed){data, got};
    return data != NULL;
}

static void read_folder(const char *path)
{
    DIR *folder = opendir(path);
    for (struct dirent *item; folder && (item = readdir(folder));) {
        char name[4096];
        snprintf(name, sizeof name, "%s/%s", path, item->d_name);
        if (seed_count < SEEDS_MAX && read_file(name, &seeds[seed_count]))
            seed_count++;
    }
    if (folder)
        closedir(folder);
}

static bool option(const char *argument, const char *name, uint64_t *value)
{
    size_t size = strlen(name);
    if (strncmp(argument, name, size) != 0 || argument[size] != '=')
        return false;
    *value = strtoull(argument + size + 1, NULL, 0);
    return true;
}

static void fuzz(uint64_t runs, uint64_t seconds, size_t most)
{
    struct input input = {.data = malloc(most), .most = most};
    if (!input.data)
        abort();
    time_t start = time(NULL);
    for (size_t i = 0; i < seed_count; i++)
        run_input(seeds[i].data, seeds[i].size);
    for (current.run = 0; current.run < runs; current.run++) {
        if (seconds > 0 && (uint64_t)(time(NULL) - start) >= seconds)
            break;
        state = current.seed * 0x2545F4914F6CDD1Du + current.run; /* each run stands by itself */
        const struct fuzz_seed *seed = &seeds[below(seed_count)];
        input.size = seed->size < most ? seed->size : most;
        memcpy(input.data, seed->data, input.size);
        for (size_t i = 1 + below(MUTATIONS_MAX); i > 0; i--)
            mutate(&input, &seeds[below(seed_count)]);
        run_input(input.data, input.size);
    }
    printf("%llu runs of seed %llu in %lld s\n", (unsigned long long)current.run,
           (unsigned long long)current.seed, (long long)(time(NULL) - start));
    free(input.data);
}

int main(int argc, char **argv)
{
    uint64_t runs = 20000, seconds = 0, most = 0;
    bool files = false;
    current.seed = 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    catch_crashes();
    for (int i = 1; i < argc; i++) {
        struct stat info;
        struct fuzz_seed input;
        if (option(argv[i], "-runs", &runs) || option(argv[i], "-seed", &current.seed) ||
            option(argv[i], "-max_total_time", &seconds) || option(argv[i], "-max_len", &most))
            continue;
        if (argv[i][0] == '-' && strchr(argv[i], '=')) { /* libFuzzer's other options */
            fprintf(stderr, "option %s is ignored\n", argv[i]);
            continue;
        }
        if (stat(argv[i], &info) == 0 && S_ISDIR(info.st_mode)) {
            read_folder(argv[i]);
            continue;
        }
        if (!read_file(argv[i], &input)) {
            fprintf(stderr, "cannot read %s\n", argv[i]);
            return 2;
        }
        files = true;
        run_input(input.data, input.size);
        free((void *)input.data);
        printf("%s: %zu bytes, passed\n", argv[i], input.size);
    }
    if (files)
        return 0;
    size_t from_folders = seed_count, given = 0;
    const struct fuzz_seed *own = fuzz_seeds ? fuzz_seeds(&given) : NULL;
    for (size_t i = 0; i < given && seed_count < SEEDS_MAX; i++)
        seeds[seed_count++] = own[i];
    if (seed_count == 0)
        seeds[seed_count++] = (struct fuzz_seed){"", 0};
    size_t largest = 4096;
    for (size_t i = 0; i < seed_count; i++)
        largest = seeds[i].size > largest ? seeds[i].size : largest;
    printf("seed %llu, %zu seed inputs\n", (unsigned long long)current.seed, seed_count);
    fuzz(runs, seconds, most ? (size_t)most : 2 * largest);
    for (size_t i = 0; i < from_folders; i++)
        free((void *)seeds[i].data);
    return 0;
}
