#include "harden.h"

#include <sys/prctl.h>
#include <sys/resource.h>

/* LeakSanitizer attaches to the process that it looks at. */
#if defined(__SANITIZE_ADDRESS__)
#define OTHERS_LOOK_INSIDE
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define OTHERS_LOOK_INSIDE
#endif
#endif

void harden_process(void)
{
    const struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
#ifndef OTHERS_LOOK_INSIDE
    /* The limit alone does not count where core_pattern names a program: the kernel then pipes the dump all
     * the same. */
    prctl(PR_SET_DUMPABLE, 0);
#endif
}
