/*
 * Answers of the sources of Azure tokens. The first line is the HTTP status, with Retry-After behind a blank
 * where there is one; the rest is the body.
 */
#include "../../clients/azure_internal.h"
#include "fuzz.h"

#define NOW 1795417200

static void check_answer(const struct azure_token_answer *answer, unsigned status)
{
    ALWAYS((answer->status == UPSTREAM_OK) == (answer->token != NULL));
    ALWAYS(answer->retry_after_ms >= -1);
    if (answer->status != UPSTREAM_OK) {
        ALWAYS(status == 200 || answer->reason == NULL || strlen(answer->reason) > 0);
        return;
    }
    size_t len = strlen(answer->token);
    ALWAYS(status == 200 && len >= 1 && len <= AZURE_TOKEN_MAX && len < answer->token_size);
    ALWAYS(answer->lifetime_s >= 1 && answer->lifetime_s <= AZURE_LIFE_MAX_S);
    /* It goes into a header. */
    for (const char *c = answer->token; *c != '\0'; c++)
        ALWAYS(*c > 0x20 && *c < 0x7f && *c != '"' && *c != ',' && *c != ';');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *body;
    size_t body_len, line_len = fuzz_line(data, size, &body, &body_len);
    char *line = fuzz_text(data, line_len), *text = malloc(body_len + 1);
    char *blank = strchr(line, ' ');

    ALWAYS(text != NULL);
    memcpy(text, body, body_len);
    text[body_len] = '\0';
    struct http_answer http = {.outcome = HTTP_ANSWERED,
                               .status = (unsigned)strtoul(line, NULL, 10) % 1000,
                               .body_len = body_len,
                               .retry_after = blank != NULL ? blank + 1 : NULL};
    http.body = (struct buffer){.data = text, .len = body_len, .cap = body_len + 1};
    for (int source = AZURE_CLIENT_SECRET; source <= AZURE_IMDS; source++) {
        struct azure_token_answer answer;
        memset(&answer, 0xA5, sizeof answer);
        azure_token_answer_read(&http, (enum azure_source)source, NOW, &answer);
        check_answer(&answer, http.status);
        char *said = http.status == 200 ? oracle_string_at(text, body_len, "access_token") : NULL;
        ALWAYS(answer.token == NULL || said == NULL || strcmp(said, answer.token) == 0);
        free(said);
        azure_token_answer_free(&answer);
    }
    free(text);
    free(line);
    return 0;
}
