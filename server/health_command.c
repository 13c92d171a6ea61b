#include "health_command.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <string.h>

#define TIMEOUT_MS 4000L
#define BODY_MAX   65536L

static size_t pass_over(char *data, size_t size, size_t count, void *ctx)
{
    return size * count;
}

static bool is_url(const char *url)
{
    return strncmp(url, "http://", 7) == 0 || strncmp(url, "https://", 8) == 0;
}

static CURLcode ask(CURL *curl, const char *url, char *reason, long *ret_status)
{
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, TIMEOUT_MS);
    curl_easy_setopt(curl, CURLOPT_MAXFILESIZE, BODY_MAX);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, pass_over);
    CURLcode r = curl_easy_perform(curl);
    if (r == CURLE_OK)
        r = curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, ret_status);
    return r;
}

int health_command(const char *url, FILE *errors)
{
    char reason[CURL_ERROR_SIZE] = "";
    long status = 0;

    if (!is_url(url)) {
        fprintf(errors, "--health wants a URL that begins with http:// or https://\n");
        return 2;
    }
    CURL *curl = curl_easy_init();
    if (curl == NULL) {
        fprintf(errors, "out of memory\n");
        return 1;
    }
    CURLcode r = ask(curl, url, reason, &status);
    curl_easy_cleanup(curl);
    if (r == CURLE_OK && status == 200)
        return 0;
    if (r != CURLE_OK)
        fprintf(errors, "%s: %s\n", url, reason[0] != '\0' ? reason : curl_easy_strerror(r));
    else
        fprintf(errors, "%s: status %ld\n", url, status);
    return 1;
}
