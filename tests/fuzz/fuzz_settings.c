/* A configuration file of any bytes: read, or refused with one sentence that names the file. */
#include "fuzz.h"
#include "proto/base/log.h"
#include "proto/base/settings.h"
#include "proto/rpc/url.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

const struct fuzz_seed *fuzz_seeds(size_t *count)
{
    static const struct fuzz_seed seeds[] = {
        FUZZ_SEED("# a\ndir = /var/lib/quire\nlisten = tcp://0.0.0.0:7401\nthreads = 8\n"),
        FUZZ_SEED("memory-limit=4G\r\nlog-level = debug\nlog-json = yes\nact = yes\n"),
        FUZZ_SEED("listen = tcp://[::1]:1\nlisten = ipc:///x\n"),
    };
    *count = sizeof seeds / sizeof *seeds;
    return seeds;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *dir = NULL, *listen = NULL;
    uint32_t threads = 4;
    size_t limit = 0;
    enum log_level level = LOG_INFO;
    bool json = false, act = false;
    const struct setting table[] = {
        SETTING_TEXT("dir", &dir),
        SETTING_VALID("listen", &listen, url_valid, URL_MEANING),
        SETTING_COUNT("threads", &threads, 1, 256),
        SETTING_SIZE("memory-limit", &limit, 1),
        SETTING_LEVEL("log-level", &level),
        SETTING_FLAG("log-json", &json),
        SETTING_ACT("act", &act),
    };
    struct err err = {0};
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    int code =
        settings_read_text(table, sizeof table / sizeof *table, "fuzz.conf", text, size, &err);
    assert(code == 0 || (code == ERR_INVALID && strncmp(err.text, "fuzz.conf:", 10) == 0));
    assert(threads >= 1 && threads <= 256 && !act);
    assert(listen == NULL || url_valid(listen));
    assert(dir == NULL || dir[0] != '\0');
    free(text);
    return 0;
}
