#include "shard/analyzers.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_MAX 64 /* unused ones; beyond, they are destroyed */

struct kept {
    char language[16];
    struct analyzer *analyzer;
};

struct analyzers {
    pthread_mutex_t lock;
    struct kept kept[KEPT_MAX];
    int count;
};

struct analyzers *analyzers_create(void)
{
    struct analyzers *analyzers = calloc(1, sizeof *analyzers);
    if (analyzers != NULL)
        pthread_mutex_init(&analyzers->lock, NULL);
    return analyzers;
}

void analyzers_destroy(struct analyzers *analyzers)
{
    if (analyzers == NULL)
        return;
    for (int i = 0; i < analyzers->count; i++)
        analyzer_destroy(analyzers->kept[i].analyzer);
    pthread_mutex_destroy(&analyzers->lock);
    free(analyzers);
}

struct analyzer *analyzers_take(struct analyzers *analyzers, const char *language)
{
    struct analyzer *found = NULL;
    pthread_mutex_lock(&analyzers->lock);
    for (int i = analyzers->count; i-- > 0 && found == NULL;) {
        if (strcmp(analyzers->kept[i].language, language) != 0)
            continue;
        found = analyzers->kept[i].analyzer;
        analyzers->kept[i] = analyzers->kept[--analyzers->count];
    }
    pthread_mutex_unlock(&analyzers->lock);
    if (found == NULL && analyzer_create(language, &found, NULL) != 0)
        return NULL;
    return found;
}

void analyzers_give(struct analyzers *analyzers, const char *language, struct analyzer *analyzer)
{
    pthread_mutex_lock(&analyzers->lock);
    bool keep =
        analyzers->count < KEPT_MAX && strlen(language) < sizeof analyzers->kept[0].language;
    if (keep) {
        struct kept *kept = &analyzers->kept[analyzers->count++];
        strcpy(kept->language, language);
        kept->analyzer = analyzer;
    }
    pthread_mutex_unlock(&analyzers->lock);
    if (!keep)
        analyzer_destroy(analyzer);
}
